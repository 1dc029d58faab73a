/* SPDX-License-Identifier: MIT */
#include "backends.h"

#include <poll.h>
#include <soon/backend.h>
#include <stdio.h>

static int make_thread_pool(unsigned workers, soon_executor **out)
{
    return soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, out);
}

static int make_process_pool(int method, unsigned workers, soon_executor **out)
{
    const soon_process_pool_options options = {.max_workers = workers, .start_method = method};

    return soon_process_pool_new(&options, out);
}

static int make_forkserver(unsigned workers, soon_executor **out)
{
    return make_process_pool(SOON_START_FORKSERVER, workers, out);
}

/* All workers are born here, and this thread sleeps meanwhile. */
static void bear_all(soon_executor *ex, unsigned workers)
{
    struct hold hold = hold_make();
    soon_task tasks[WORKERS_MAX];
    soon_future *futures[WORKERS_MAX];

    for (unsigned i = 0; i < workers; i++)
        tasks[i] = (soon_task){.fn = task_hold, .arg = &hold, .arg_len = sizeof hold};
    assert_ok(soon_submit_many(ex, tasks, workers, futures));
    bell_await(hold.started, workers);
    gate_open(hold.release);
    for (unsigned i = 0; i < workers; i++)
        assert_ok(soon_future_wait(futures[i], SOON_FOREVER));
    unref_all(futures, workers);
    hold_free(&hold);
}

/* The thread sanitizer's allocator does not take its locks over a fork: a worker that is
 * born while the program allocates may wait for one for ever (in GetFromAllocator()). */
static int make_fork(unsigned workers, soon_executor **out)
{
    int error = make_process_pool(SOON_START_FORK, workers, out);

    if (!error && thread_sanitized())
        bear_all(*out, workers);
    return error;
}

static int make_spawn(unsigned workers, soon_executor **out)
{
    return make_process_pool(SOON_START_SPAWN, workers, out);
}

static int make_inline(unsigned workers, soon_executor **out)
{
    (void)workers;
    return soon_inline_new(out);
}

static int make_loop(unsigned workers, soon_executor **out)
{
    (void)workers;
    return soon_loop_new(out);
}

static int make_custom(unsigned workers, soon_executor **out)
{
    (void)workers;
    return custom_backend_new(SOON_BACKEND_LOCAL, out);
}

/* A loop as it lives in a program of its own: polled together with another
 * descriptor, never blocking in soon_loop_run(). Ends when told to and
 * nothing is queued. */
static void drive_loop(soon_executor *ex, struct gate stop)
{
    struct pollfd fds[2] = {{.fd = soon_loop_fd(ex), .events = POLLIN},
                            {.fd = stop.fd, .events = POLLIN}};

    REQUIRE(fds[0].fd >= 0);
    for (;;) {
        REQUIRE(poll(fds, 2, -1) > 0 || errno == EINTR);
        REQUIRE(soon_loop_run(ex, 0, 0) >= 0);
        if (gate_pass_within(stop, 0) && soon_loop_run(ex, 0, 0) == 0)
            return;
    }
}

enum { ORDINARY = TRAIT_DEFERS | TRAIT_LOCAL | TRAIT_THREADS };

static const struct backend backends[] = {
    {"thread_pool", 1, ORDINARY, make_thread_pool, NULL},
    {"thread_pool", 2, ORDINARY, make_thread_pool, NULL},
    {"thread_pool", 4, ORDINARY, make_thread_pool, NULL},
    {"inline", 1, TRAIT_LOCAL | TRAIT_THREADS, make_inline, NULL},
    {"loop", 1, ORDINARY, make_loop, drive_loop},
    {"custom", 1, ORDINARY, make_custom, NULL},
    {"process_pool", 1, TRAIT_DEFERS, make_forkserver, NULL},
    {"process_pool", 2, TRAIT_DEFERS, make_forkserver, NULL},
    {"process_pool", 1, TRAIT_DEFERS, make_fork, NULL},
    {"process_pool", 2, TRAIT_DEFERS, make_fork, NULL},
    {"process_pool", 1, TRAIT_DEFERS | TRAIT_THREADS, make_spawn, NULL},
    {"process_pool", 2, TRAIT_DEFERS | TRAIT_THREADS, make_spawn, NULL},
};

enum { BACKEND_COUNT = sizeof backends / sizeof backends[0] };

static bool has_traits(const struct backend *backend, unsigned traits, const char *test)
{
    unsigned has = backend->traits | (backend->workers > 1 ? TRAIT_PAIR : TRAIT_SINGLE);
    unsigned lacks = traits & ~has;
    char what[128];

    snprintf(what, sizeof what, "%s over forked workers", test);
    return !lacks || (lacks == TRAIT_THREADS && forked_may_start_threads(what));
}

/* valgrind knows no process that shares its parent's memory; t/gates/valgrind
 * says that process pools are left out for it. */
static bool can_run_here(const struct backend *backend)
{
    return !running_on_valgrind() || strcmp(backend->name, "process_pool") != 0;
}

void add_over_backends(TCase *tc, const TTest *test, unsigned traits)
{
    for (int i = 0; i < BACKEND_COUNT; i++)
        if (can_run_here(&backends[i]) && has_traits(&backends[i], traits, test->name))
            tcase_add_loop_test(tc, test, i, i + 1);
}

static void run_driver(void *data)
{
    struct rig *rig = data;
    soon_executor *ex = soon_executor_ref(rig->ex);

    /* Once before the test goes on: the loop knows its thread from here. */
    REQUIRE(soon_loop_run(ex, 0, 0) == 0);
    bell_ring(rig->driving);
    rig->backend->drive(ex, rig->stop);
    soon_executor_unref(ex);
}

void rig_up(struct rig *rig, int i)
{
    ck_assert_int_lt(i, BACKEND_COUNT);
    ck_assert_uint_le(backends[i].workers, WORKERS_MAX);
    *rig = (struct rig){.backend = &backends[i]};
    assert_ok(rig->backend->make(rig->backend->workers, &rig->ex));
    rig->born = rig_figures(rig);
    if (rig->backend->drive) {
        rig->stop = gate_make();
        rig->driving = bell_make();
        thread_start(&rig->driver, run_driver, rig);
        bell_await(rig->driving, 1);
    }
}

soon_stats rig_figures(const struct rig *rig)
{
    soon_stats now;

    assert_ok(soon_executor_stats(rig->ex, &now));
    now.finished -= rig->born.finished;
    now.bytes_in -= rig->born.bytes_in;
    now.bytes_out -= rig->born.bytes_out;
    return now;
}

void rig_adds_up(const struct rig *rig, uint64_t submitted)
{
    soon_stats now = rig_figures(rig);

    ck_assert_uint_eq(now.pending, 0);
    ck_assert_uint_eq(now.running, 0);
    ck_assert_uint_eq(now.finished + now.failed + now.cancelled + now.timed_out, submitted);
}

void rig_hold_all(struct rig *rig, const struct hold *hold)
{
    for (unsigned i = 0; i < rig->backend->workers; i++)
        rig->held[i] = submit(rig->ex, task_hold, hold, sizeof *hold);
    bell_await(hold->started, rig->backend->workers);
}

void rig_gone(struct rig *rig)
{
    for (unsigned i = 0; i < WORKERS_MAX && rig->held[i]; i++) {
        assert_ok(soon_future_wait(rig->held[i], SOON_FOREVER));
        soon_future_unref(rig->held[i]);
    }
    if (rig->backend->drive) {
        thread_join(&rig->driver);
        gate_free(rig->stop);
        bell_free(rig->driving);
    }
}

void rig_let_go(struct rig *rig)
{
    soon_executor_unref(rig->ex);
    rig->ex = NULL;
    if (rig->backend->drive)
        gate_open(rig->stop);
}

void rig_down(struct rig *rig)
{
    soon_stats stats;

    assert_ok(soon_shutdown(rig->ex, SOON_FOREVER, 0));
    stats = rig_figures(rig);
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.running, 0);
    rig_let_go(rig);
    rig_gone(rig);
}
