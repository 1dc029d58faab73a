/* SPDX-License-Identifier: MIT */
/*
 * oneTBB. A task with a result is enqueued with a promise, of which the
 * submitter has the future; fork and join, and work that is only waited for,
 * use a task_group, whose wait() makes the waiting thread one of the two.
 */
#include "harness.h"

#include <cstdlib>
#include <future>
#include <new>

#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

namespace
{

struct pool {
    /* oneTBB starts one thread less than it is allowed to use. */
    tbb::global_control control;
    tbb::task_arena workers; /* for tasks that are enqueued from outside */
    tbb::task_arena joined;  /* for work that the waiting thread takes part in */

    explicit pool(unsigned n)
        : control(tbb::global_control::max_allowed_parallelism, n + 1), workers((int)n, 0),
          joined((int)n, 1)
    {
    }
};

using future = std::future<int>;

pool *of(void *p)
{
    return static_cast<pool *>(p);
}

void *open_pool(unsigned workers)
{
    return new pool(workers);
}

void close_pool(void *p)
{
    delete of(p);
}

/* enqueue() calls what it was given as a const object. */
struct increment {
    mutable std::promise<int> promise;
    int k;

    void operator()() const
    {
        promise.set_value(k + 1);
    }
};

struct stamp {
    mutable std::promise<void> promise;
    uint64_t *started;

    void operator()() const
    {
        if (started)
            *started = bench_ns();
        promise.set_value();
    }
};

future submit(void *p, int k)
{
    increment task{std::promise<int>(), k};
    future f = task.promise.get_future();

    of(p)->workers.enqueue(std::move(task));
    return f;
}

future *submit_all(void *p, size_t n)
{
    future *f = static_cast<future *>(bench_room(n * sizeof(future)));

    for (size_t i = 0; i < n; i++)
        new (&f[i]) future(submit(p, (int)i));
    return f;
}

void collect(future *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bench_check(f[i].get() != (int)i + 1, "a result");
        f[i].~future();
    }
}

void flood(void *p, size_t n)
{
    collect(submit_all(p, n), n);
}

void detached(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        of(p)->workers.enqueue([] { bench_tick(); });
}

long fib(int n, bool both)
{
    tbb::task_group group;
    long own, other;

    if (n < 2)
        return n;
    group.run([&other, n, both] { other = fib(n - 1, both); });
    if (both)
        group.run([&own, n, both] { own = fib(n - 2, both); });
    else
        own = fib(n - 2, both);
    group.wait();
    return own + other;
}

long run_fib(void *p, int n, bool both)
{
    return of(p)->joined.execute([n, both] { return fib(n, both); });
}

void trip(void *p, uint64_t *started)
{
    stamp task{std::promise<void>(), started};
    std::future<void> f = task.promise.get_future();

    of(p)->workers.enqueue(std::move(task));
    f.get();
}

void as_completed(void *p, size_t n)
{
    tbb::concurrent_bounded_queue<int> done;
    long sum = 0;
    int k;

    for (size_t i = 0; i < n; i++)
        of(p)->workers.enqueue([&done, i] { done.push((int)i + 1); });
    bench_submitted();
    for (size_t i = 0; i < n; i++) {
        done.pop(k);
        sum += k;
    }
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results");
}

void work(void *p, size_t n, uint64_t iterations)
{
    of(p)->joined.execute([n, iterations] {
        tbb::task_group group;
        for (size_t i = 0; i < n; i++)
            group.run([iterations] { bench_work(iterations); });
        group.wait();
    });
}

void hold(void *p, size_t n)
{
    for (int i = 0; i < BENCH_WORKERS; i++)
        of(p)->workers.enqueue([] { bench_gate_pass(); });
    bench_gate_await(BENCH_WORKERS);
    submit_all(p, n);
}

void drop(void *, size_t n, bool)
{
    collect(static_cast<future *>(bench_room(n * sizeof(future))), n);
}

} // namespace

int main(int argc, char **argv)
{
    bench_peer peer = {};

    peer.program = "oneTBB";
    peer.open = open_pool;
    peer.close = close_pool;
    peer.flood = flood;
    peer.detached = detached;
    peer.fib = run_fib;
    peer.trip = trip;
    peer.as_completed = as_completed;
    peer.work = work;
    peer.hold = hold;
    peer.drop = drop;
    return bench_main(argc, argv, &peer);
}
