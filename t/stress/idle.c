/* SPDX-License-Identifier: MIT */
/*
 * Workers that leave after a microsecond race the submit that still counts on
 * them: each task runs all the same, and when all is done the pool empties.
 */
#include "stress.h"

enum { SUBMITTERS = 3, EACH = 300 };

static atomic_uint ran;

struct submitter {
    soon_executor *ex;
    stress_rng rng;
};

static int run(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned value;

    REQUIRE_EQ(arg_len, sizeof value);
    memcpy(&value, arg, sizeof value);
    atomic_fetch_add(&ran, 1);
    value++;
    return soon_return(call, &value, sizeof value);
}

static void *submit_and_wait(void *arg)
{
    struct submitter *s = arg;

    for (unsigned n = 0; n < EACH; n++) {
        unsigned value;
        soon_future *f;

        REQUIRE_EQ(soon_submit(s->ex, run, &n, sizeof n, &f), 0);
        REQUIRE_EQ(soon_future_result(f, SOON_FOREVER, &value, sizeof value), 0);
        REQUIRE_EQ(value, n + 1);
        soon_future_unref(f);
        /* About as long as a worker takes to fall asleep and leave. */
        stress_spin(stress_random(&s->rng, 100) * 200);
    }
    return NULL;
}

static void require_empties(soon_executor *ex)
{
    soon_stats stats;

    do {
        sched_yield();
        REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    } while (stats.workers > 0);
    REQUIRE_EQ(stats.idle, 0);
}

static void run_round(uint64_t number)
{
    struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    soon_thread_pool_options options = {.max_workers = 1 + number % 3, .idle_timeout = 1000};
    soon_executor *ex;

    atomic_store(&ran, 0);
    REQUIRE_EQ(soon_thread_pool_new(&options, &ex), 0);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){ex, stress_rng_new(number * SUBMITTERS + i)};
        stress_spawn(&threads[i], submit_and_wait, &submitters[i]);
    }
    for (unsigned i = 0; i < SUBMITTERS; i++)
        stress_join(threads[i]);
    require_empties(ex);
    REQUIRE_EQ(atomic_load(&ran), SUBMITTERS * EACH);
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    stress_require_balance(ex, SUBMITTERS * EACH);
    soon_executor_unref(ex);
}

int main(void)
{
    uint64_t rounds = 0;

    stress_begin("stress/idle");
    while (stress_more())
        run_round(rounds++);
    return stress_end("%llu pools, %d tasks each, whose workers leave after 1 us",
                      (unsigned long long)rounds, SUBMITTERS * EACH);
}
