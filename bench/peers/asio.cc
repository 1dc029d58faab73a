/* SPDX-License-Identifier: MIT */
/*
 * Boost.Asio's thread_pool. A task with a result is posted with use_future; a
 * callback in a loop is posted by the task to an io_context. There is no way
 * to wait inside of a task without blocking its thread, and none to cancel
 * what was posted.
 */
#include "harness.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <new>

namespace
{

namespace asio = boost::asio;
using future = std::future<int>;

asio::thread_pool &of(void *p)
{
    return *static_cast<asio::thread_pool *>(p);
}

void *open_pool(unsigned workers)
{
    return new asio::thread_pool(workers);
}

void close_pool(void *p)
{
    of(p).join();
    delete &of(p);
}

future *submit_all(void *p, size_t n)
{
    future *f = static_cast<future *>(bench_room(n * sizeof(future)));

    for (size_t i = 0; i < n; i++)
        new (&f[i]) future(asio::post(of(p), asio::use_future([i] { return (int)i + 1; })));
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
        asio::post(of(p), [] { bench_tick(); });
}

void trip(void *p, uint64_t *started)
{
    asio::post(of(p), asio::use_future([started] {
                   if (started)
                       *started = bench_ns();
               }))
        .get();
}

void work(void *p, size_t n, uint64_t iterations)
{
    using done = std::future<void>;
    done *f = static_cast<done *>(bench_room(n * sizeof(done)));

    for (size_t i = 0; i < n; i++)
        new (&f[i])
            done(asio::post(of(p), asio::use_future([iterations] { bench_work(iterations); })));
    for (size_t i = 0; i < n; i++) {
        f[i].get();
        f[i].~done();
    }
}

void callbacks(void *p, size_t n)
{
    asio::io_context loop(1);
    auto guard = asio::make_work_guard(loop);
    size_t left = n;
    long sum = 0;

    for (size_t i = 0; i < n; i++)
        asio::post(of(p), [&, i] {
            int k = (int)i + 1;
            asio::post(loop, [&, k] {
                sum += k;
                if (--left == 0)
                    guard.reset();
            });
        });
    loop.run();
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results of callbacks");
}

void hold(void *p, size_t n)
{
    for (int i = 0; i < BENCH_WORKERS; i++)
        asio::post(of(p), [] { bench_gate_pass(); });
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

    peer.program = "Boost.Asio";
    peer.open = open_pool;
    peer.close = close_pool;
    peer.flood = flood;
    peer.detached = detached;
    peer.trip = trip;
    peer.work = work;
    peer.callbacks = callbacks;
    peer.hold = hold;
    peer.drop = drop;
    return bench_main(argc, argv, &peer);
}
