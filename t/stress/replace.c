/* SPDX-License-Identifier: MIT */
/*
 * Workers are replaced, used up or crashed, again and again, while threads of
 * the program hammer malloc and stdio: whatever locks they
 * hold at the moment of a fork, no new worker may be born with them taken.
 */
#include "stress.h"

#include <signal.h>
#include <sys/resource.h>

enum { HAMMERS = 3, BATCH = 20 };

static atomic_bool over;
static FILE *nowhere;

/* ---- the hammers ---- */

static void *hammer(void *arg)
{
    stress_rng rng = stress_rng_new(100 + (uintptr_t)arg);
    void *held[64] = {NULL};

    while (!atomic_load(&over)) {
        unsigned i = stress_random(&rng, 64);

        free(held[i]);
        held[i] = malloc(1 + stress_random(&rng, i % 8 ? 2000 : 300000));
        REQUIRE(held[i]);
        if (i % 16 == 0)
            REQUIRE(fprintf(nowhere, "%p %u\n", held[i], i) > 0);
    }
    for (unsigned i = 0; i < 64; i++)
        free(held[i]);
    return NULL;
}

/* ---- tasks ---- */

/* Uses what the hammers use. */
static int use_locks(soon_call *call, const void *arg, size_t arg_len)
{
    char *pieces[50], text[64] = "";
    unsigned n;

    REQUIRE_EQ(arg_len, sizeof n);
    memcpy(&n, arg, sizeof n);
    for (unsigned i = 0; i < 50; i++) {
        pieces[i] = malloc(100 + i * 400);
        REQUIRE(pieces[i]);
        memset(pieces[i], (int)i, 100 + i * 400);
    }
    for (unsigned i = 0; i < 50; i++)
        free(pieces[i]);
    if (nowhere)
        REQUIRE(fprintf(nowhere, "%u\n", n) > 0);
    snprintf(text, sizeof text, "%g", n * 0.5);
    return soon_return(call, text, sizeof text);
}

static int crash(soon_call *call, const void *arg, size_t arg_len)
{
    const struct rlimit no_core = {0, 0};

    (void)call, (void)arg, (void)arg_len;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}

/* ---- one pool ---- */

/* Each task ends its worker, in one way or the other; every third crashes. */
static void run_batch(soon_executor *ex)
{
    soon_future *futures[BATCH];

    for (unsigned i = 0; i < BATCH; i++)
        REQUIRE_EQ(soon_submit(ex, i % 3 ? use_locks : crash, &i, sizeof i, &futures[i]), 0);
    for (unsigned i = 0; i < BATCH; i++) {
        char got[64], want[64] = "";
        int code = soon_future_result(futures[i], SOON_FOREVER, got, sizeof got);

        snprintf(want, sizeof want, "%g", i * 0.5);
        REQUIRE_EQ(code, i % 3 ? 0 : -EOWNERDEAD);
        REQUIRE(code != 0 || strcmp(got, want) == 0);
        soon_future_unref(futures[i]);
    }
}

static uint64_t replace(int method, uint64_t times)
{
    const soon_process_pool_options options = {.max_workers = 2,
                                               .start_method = method,
                                               .max_tasks_per_child = 1,
                                               .max_restarts = 1000000,
                                               .restart_window = 1};
    soon_executor *ex = NULL;
    soon_stats stats = {0};
    uint64_t tasks = 0;

    REQUIRE_EQ(soon_process_pool_new(&options, &ex), 0);
    for (; stats.workers_started < times; tasks += BATCH) {
        run_batch(ex);
        REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    }
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    stress_require_balance(ex, tasks);
    /* One for each task: none is used twice, and none in vain. */
    REQUIRE_EQ(stats.workers_started, tasks);
    REQUIRE_EQ(stats.workers_crashed, stats.failed);
    soon_executor_unref(ex);
    return stats.workers_started;
}

int main(int argc, char **argv)
{
    pthread_t threads[HAMMERS];
    uint64_t replaced = 0;
    int first = SOON_START_FORKSERVER;

    REQUIRE_EQ(soon_init(argc, argv), 0);
    stress_begin("stress/replace");
    nowhere = fopen("/dev/null", "we");
    REQUIRE(nowhere);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        stress_spawn(&threads[i], hammer, (void *)i);
    /* Its allocator has locks that it does not take over a fork: a worker that is born
     * while a hammer holds one waits for it for ever. */
    if (STRESS_THREAD_SANITIZER) {
        fprintf(stderr, "SKIP: forked workers: the thread sanitizer's malloc does not survive\n");
        first = SOON_START_SPAWN;
    }
    for (int method = first; method <= SOON_START_SPAWN; method++)
        replaced += replace(method, stress_processes(200));
    atomic_store(&over, true);
    for (unsigned i = 0; i < HAMMERS; i++)
        stress_join(threads[i]);
    fclose(nowhere);
    return stress_end("%llu workers under %d hammers", (unsigned long long)replaced, HAMMERS);
}
