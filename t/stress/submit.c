/* SPDX-License-Identifier: MIT */
/*
 * Eight threads submit as fast as they can, in every way there is, into pools
 * with every overflow policy: no task is lost, none runs twice, and each
 * result is that of its own argument. 10 million tasks with SOON_STRESS_FULL=1.
 */
#include "stress.h"

enum { THREADS = 8, WINDOW = 64 };

static atomic_uchar *slots;

struct mark {
    atomic_uchar *slot;
    uint64_t index;
};

static uint64_t answer(uint64_t index)
{
    return index * 2654435761u + 1;
}

static int mark(soon_call *call, const void *arg, size_t arg_len)
{
    struct mark m;
    uint64_t value;

    REQUIRE_EQ(arg_len, sizeof m);
    memcpy(&m, arg, sizeof m);
    REQUIRE_EQ(atomic_fetch_add_explicit(m.slot, 1, memory_order_relaxed), 0);
    value = answer(m.index);
    return soon_return(call, &value, sizeof value);
}

/* One thread's share of the slots, and its last futures. */
struct producer {
    soon_executor *ex;
    stress_rng rng;
    size_t next, end;
    soon_future *window[WINDOW];
    uint64_t expected[WINDOW];
    unsigned used;
};

static void settle(struct producer *p)
{
    for (unsigned i = 0; i < p->used; i++) {
        uint64_t value;

        REQUIRE_EQ(soon_future_result(p->window[i], SOON_FOREVER, &value, sizeof value), 0);
        REQUIRE_EQ(value, p->expected[i]);
        soon_future_unref(p->window[i]);
    }
    p->used = 0;
}

static void submit_one(struct producer *p)
{
    struct mark m = {&slots[p->next], p->next};
    bool keep = stress_random(&p->rng, 8) == 0;
    soon_future **out = keep ? &p->window[p->used] : NULL;
    soon_task task = {
        .fn = mark, .arg = &m, .arg_len = sizeof m, .priority = (int)stress_random(&p->rng, 3) - 1};
    int error;

    do
        error = stress_random(&p->rng, 2) == 0 ? soon_submit(p->ex, mark, &m, sizeof m, out)
                                               : soon_submit_task(p->ex, &task, out);
    while (error == -EAGAIN && sched_yield() == 0);
    REQUIRE_EQ(error, 0);
    if (keep)
        p->expected[p->used++] = answer(p->next);
    p->next++;
}

static void submit_batch(struct producer *p)
{
    struct mark marks[WINDOW];
    soon_task tasks[WINDOW];
    unsigned n = 1 + stress_random(&p->rng, WINDOW - p->used);
    int error;

    if (n > p->end - p->next)
        n = (unsigned)(p->end - p->next);
    for (unsigned i = 0; i < n; i++) {
        marks[i] = (struct mark){&slots[p->next + i], p->next + i};
        tasks[i] = (soon_task){.fn = mark, .arg = &marks[i], .arg_len = sizeof marks[i]};
        p->expected[p->used + i] = answer(p->next + i);
    }
    do
        error = soon_submit_many(p->ex, tasks, n, &p->window[p->used]);
    while (error == -EAGAIN && sched_yield() == 0);
    REQUIRE_EQ(error, 0);
    p->next += n;
    p->used += n;
}

static void *produce(void *arg)
{
    struct producer *p = arg;

    while (p->next < p->end) {
        if (p->used == WINDOW)
            settle(p);
        if (stress_random(&p->rng, 16) == 0)
            submit_batch(p);
        else
            submit_one(p);
    }
    settle(p);
    return NULL;
}

/* n tasks through one pool; each marks its slot exactly once. */
static void run_all(const soon_thread_pool_options *options, size_t n)
{
    struct producer *producers = calloc(THREADS, sizeof *producers);
    pthread_t threads[THREADS];
    soon_executor *ex;

    slots = calloc(n, 1);
    REQUIRE(producers != NULL && slots != NULL);
    REQUIRE_EQ(soon_thread_pool_new(options, &ex), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        producers[i].ex = ex;
        producers[i].rng = stress_rng_new(i + 100 * options->max_workers);
        producers[i].next = n / THREADS * i;
        producers[i].end = i + 1 == THREADS ? n : n / THREADS * (i + 1);
        stress_spawn(&threads[i], produce, &producers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        stress_join(threads[i]);
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    stress_require_balance(ex, n);
    for (size_t i = 0; i < n; i++)
        REQUIRE_EQ(atomic_load_explicit(&slots[i], memory_order_relaxed), 1);
    soon_executor_unref(ex);
    free(slots);
    free(producers);
}

int main(void)
{
    const char *full = getenv("SOON_STRESS_FULL");
    size_t n = full != NULL && *full == '1' ? 10000000 : stress_count(1000000);
    static const soon_thread_pool_options pools[] = {
        {.max_workers = 2},
        {.max_workers = 4, .max_pending = 1024, .overflow = SOON_BLOCK},
        {.max_workers = 3, .max_pending = 256, .overflow = SOON_CALLER_RUNS},
        {.max_workers = 1, .max_pending = 4096, .overflow = SOON_REJECT},
    };
    const size_t kinds = sizeof pools / sizeof pools[0];

    stress_begin("stress/submit");
    for (size_t i = 0; i < kinds; i++)
        run_all(&pools[i], n / kinds);
    return stress_end("%zu tasks from %d threads, each ran exactly once", n / kinds * kinds,
                      THREADS);
}
