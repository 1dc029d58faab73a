/* SPDX-License-Identifier: MIT */
/*
 * Large arguments, of which there is one copy for all workers: they are whole
 * wherever their task runs in the end, no worker can change them, and their
 * room is free again when their task is done.
 */
#include "payload.h"

#include "os/inject.h"
#include "os/shm.h"
#include "process_pool/pool.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store *store_of(soon_executor *ex)
{
    return &((struct pool *)ex)->store;
}

static unsigned blocks_used(soon_executor *ex)
{
    unsigned n = 0;

    for (size_t i = 0; i < STORE_WORDS; i++)
        n += (unsigned)__builtin_popcountll(atomic_load(&store_of(ex)->used[i]));
    return n;
}

/* Tasks so short that others are handed ahead from here on. */
static void warm_up(soon_executor *ex, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    while (pool_figures(ex).finished < n)
        sched_yield();
}

static void check(soon_future *f, size_t len)
{
    assert_painted(f, len, seed_of(len));
}

/* A pool whose one worker is held, so that what is submitted waits behind it. */
struct held {
    struct hold hold;
    soon_executor *ex;
    soon_future *f;
};

static void held_up(struct held *held, int method, size_t max_worker_memory)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .max_worker_memory = max_worker_memory};

    held->hold = hold_make(); /* workers are born with it */
    held->ex = pool_up(method, &options);
    perch(held->ex, &held->hold, &held->f);
}

/* Its worker has been let go and the n tasks behind have ended; so does the
 * pool. */
static void held_down(struct held *held, soon_future **behind, size_t n)
{
    soon_future_unref(held->f);
    unref_all(behind, n);
    pool_down(held->ex, n + 1);
    hold_free(&held->hold);
}

/* ---- where it lies ---- */

START_TEST(its_room_is_free_when_its_task_is_done)
{
    soon_executor *ex = one_worker(_i);
    soon_future *f[SIZES];

    for (int i = 0; i < SIZES; i++) {
        f[i] = submit_painted(ex, payload_sizes[i]);
        check(f[i], payload_sizes[i]);
        ck_assert_uint_eq(blocks_used(ex), 0);
    }
    ck_assert_ptr_nonnull(atomic_load(&store_of(ex)->base));
    for (int i = 0; i < SIZES; i++)
        check(f[i], payload_sizes[i]);
    unref_all(f, SIZES);
    pool_down(ex, SIZES);
}
END_TEST

START_TEST(an_argument_is_in_it_until_its_task_is_done)
{
    struct held held;

    held_up(&held, _i, 0);
    uint64_t before = pool_figures(held.ex).memory;
    soon_future *f = submit_painted(held.ex, MiB);
    ck_assert_uint_eq(blocks_used(held.ex), MiB / SOON__BLOCK);
    ck_assert_uint_ge(pool_figures(held.ex).memory, before + MiB);
    gate_open(held.hold.release);
    check(f, MiB);
    ck_assert_uint_eq(blocks_used(held.ex), 0);
    held_down(&held, &f, 1);
}
END_TEST

START_TEST(what_does_not_fit_goes_another_way)
{
    enum { N = SOON__STORE_SIZE / MiB + 8 };
    struct held held;
    soon_future *f[N];

    held_up(&held, _i, 0);
    for (int i = 0; i < N; i++)
        f[i] = submit_painted(held.ex, MiB - (size_t)i);
    ck_assert_uint_eq(blocks_used(held.ex), SOON__STORE_SIZE / SOON__BLOCK);
    gate_open(held.hold.release);
    for (int i = 0; i < N; i++)
        check(f[i], MiB - (size_t)i);
    ck_assert_uint_eq(blocks_used(held.ex), 0);
    held_down(&held, f, N);
}
END_TEST

/* Its pages are mapped in every worker, which a bound on its memory counts. */
START_TEST(a_pool_that_bounds_its_workers_memory_has_none)
{
    struct held held;

    held_up(&held, _i, SIZE_MAX / 4);
    soon_future *f = submit_painted(held.ex, MiB);
    ck_assert_ptr_null(atomic_load(&store_of(held.ex)->base));
    gate_open(held.hold.release);
    check(f, MiB);
    held_down(&held, &f, 1);
}
END_TEST

START_TEST(without_one_arguments_go_another_way)
{
    static const enum soon__inject_point points[] = {SOON__INJECT_MEMFD, SOON__INJECT_MMAP};

    for (int i = 0; i < 2; i++) {
        soon_executor *ex = one_worker(_i);

        warm_up(ex, 1);
        for (int n = 0; n < 3; n++) {
            if (n == 0)
                soon__inject_after(points[i], 1);
            soon_future *f = submit_painted(ex, 300 * KiB);
            ck_assert(soon__inject_fired(points[i]));
            check(f, 300 * KiB);
            soon_future_unref(f);
        }
        ck_assert_ptr_null(atomic_load(&store_of(ex)->base));
        pool_down(ex, 4);
    }
}
END_TEST

/* ---- who may write there ---- */

/* The result: did the system let it? */
static int task_unlock(soon_call *call, const void *arg, size_t arg_len)
{
    int error = mprotect((void *)(uintptr_t)arg, arg_len, PROT_READ | PROT_WRITE) < 0 ? errno : 0;

    return soon_return(call, &error, sizeof error);
}

START_TEST(no_worker_can_write_to_it)
{
    soon_executor *ex = one_worker(_i);
    unsigned char *bytes = painted(MiB);
    soon_future *f = submit(ex, task_unlock, bytes, MiB);

    assert_result_int(f, EACCES);
    soon_future_unref(f);
    f = submit_painted(ex, MiB);
    check(f, MiB);
    soon_future_unref(f);
    free(bytes);
    pool_down(ex, 2);
}
END_TEST

/* ---- tasks that go elsewhere ---- */

/* The first of them is what would have brought the worker the store. */
START_TEST(tasks_that_are_taken_back_take_nothing_along)
{
    enum { N = 8 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *held, *f[N];

    warm_up(ex, 100);
    perch(ex, &hold, &held);
    for (int i = 0; i < N; i++)
        f[i] = submit_painted(ex, 100 * KiB + (size_t)i);
    unsigned before = blocks_used(ex);
    for (int i = 0; i < N; i += 2)
        ck_assert(soon_future_cancel(f[i]));
    ck_assert_uint_eq(blocks_used(ex), before / 2); /* though the futures are held */
    gate_open(hold.release);
    for (int i = 1; i < N; i += 2)
        check(f[i], 100 * KiB + (size_t)i);
    soon_future_unref(held);
    unref_all(f, N);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    f[0] = submit_painted(ex, 20 * KiB);
    check(f[0], 20 * KiB);
    soon_future_unref(f[0]);
    ck_assert_uint_eq(blocks_used(ex), 0);
    pool_down(ex, 100 + 2 + N);
    hold_free(&hold);
}
END_TEST

static int task_hold_large(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    REQUIRE(arg_len > sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    return task_hold(call, &hold, sizeof hold);
}

/* It may read its argument until its worker is gone: nothing else lies there. */
START_TEST(the_room_of_a_killed_task_is_free_when_its_worker_is_gone)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    unsigned char *bytes = painted(MiB);
    soon_future *f = submit(ex, task_pid, NULL, 0);
    pid_t pid = pid_of(f);

    soon_future_unref(f);
    memcpy(bytes, &hold, sizeof hold);
    f = submit(ex, task_hold_large, bytes, MiB);
    bell_await(hold.started, 1);
    assert_ok(soon_future_kill(f));
    soon_future_unref(f);
    while (blocks_used(ex))
        sched_yield();
    ck_assert(kill(pid, 0) < 0 && errno == ESRCH);
    free(bytes);
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

static int task_hold_and_die(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_KILL;

    task_hold(call, arg, arg_len);
    return task_die(call, &how, sizeof how);
}

START_TEST(what_waited_behind_a_death_is_whole_elsewhere)
{
    enum { N = 10, ROUNDS = 3 };
    struct hold hold[ROUNDS];
    soon_future *f[N];

    for (int round = 0; round < ROUNDS; round++) /* workers are born with them */
        hold[round] = hold_make();
    soon_executor *ex = one_worker(_i);
    warm_up(ex, 100);
    for (int round = 0; round < ROUNDS; round++) {
        soon_future *doomed = submit(ex, task_hold_and_die, &hold[round], sizeof *hold);

        bell_await(hold[round].started, 1);
        for (int i = 0; i < N; i++)
            f[i] = submit_painted(ex, 200 * KiB + (size_t)i);
        gate_open(hold[round].release);
        assert_owner_dead(doomed, SIGKILL, 0, NULL);
        for (int i = 0; i < N; i++)
            check(f[i], 200 * KiB + (size_t)i);
        ck_assert_uint_eq(blocks_used(ex), 0);
        soon_future_unref(doomed);
        unref_all(f, N);
        hold_free(&hold[round]);
    }
    pool_down(ex, 100 + ROUNDS * (N + 1));
}
END_TEST

/* From here on its worker gets no descriptor. */
static int task_want_no_descriptors(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_max = 1}) == 0);
    return 0;
}

START_TEST(a_worker_that_cannot_get_it_leaves_the_task_to_another)
{
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_want_no_descriptors, NULL, 0);

    assert_result_bytes(f, "", 0);
    soon_future_unref(f);
    f = submit_painted(ex, MiB);
    check(f, MiB);
    soon_future_unref(f);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 1);
    pool_down(ex, 2);
}
END_TEST

/* Killed while it reads, again and again, while others read theirs. */
START_TEST(the_room_of_a_killed_task_comes_back)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    unsigned char *bytes = painted(MiB);

    for (int n = 0; n < 10; n++) {
        soon_future *killed = submit(ex, task_for_ever, bytes, MiB), *f;

        while (!soon_future_running(killed))
            sched_yield();
        assert_ok(soon_future_kill(killed));
        soon_future_unref(killed);
        f = submit_painted(ex, MiB - 1);
        check(f, MiB - 1);
        soon_future_unref(f);
    }
    while (blocks_used(ex)) /* until the last one's worker is gone */
        sched_yield();
    free(bytes);
    pool_down(ex, 20);
}
END_TEST

/* ---- children of the program ---- */

/* What it inherits of a task that is on its way it can drop. */
START_TEST(a_forked_child_drops_what_it_inherits)
{
    struct held held;
    int status;

    held_up(&held, _i, 0);
    soon_future *f = submit_painted(held.ex, MiB);
    pid_t child = fork();
    if (child == 0) {
        soon_future_unref(f);
        soon_future_unref(f); /* the pool's, too */
        _exit(0);
    }
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(blocks_used(held.ex), MiB / SOON__BLOCK);
    gate_open(held.hold.release);
    check(f, MiB);
    held_down(&held, &f, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_store");
    TCase *where = test_case(suite, "where it lies");
    TCase *writing = test_case(suite, "who may write there");
    TCase *elsewhere = test_case(suite, "tasks that go elsewhere");
    TCase *children = test_case(suite, "children");

    add_over_methods(where, its_room_is_free_when_its_task_is_done);
    add_over_methods(where, an_argument_is_in_it_until_its_task_is_done);
    add_over_methods(where, what_does_not_fit_goes_another_way);
    add_over_methods(where, a_pool_that_bounds_its_workers_memory_has_none);
    add_over_methods(where, without_one_arguments_go_another_way);

    add_over_methods(writing, no_worker_can_write_to_it);

    add_over_methods(elsewhere, tasks_that_are_taken_back_take_nothing_along);
    add_over_methods(elsewhere, the_room_of_a_killed_task_is_free_when_its_worker_is_gone);
    add_over_methods(elsewhere, what_waited_behind_a_death_is_whole_elsewhere);
    add_over_methods(elsewhere, a_worker_that_cannot_get_it_leaves_the_task_to_another);
    add_over_methods(elsewhere, the_room_of_a_killed_task_comes_back);

    add_over_methods(children, a_forked_child_drops_what_it_inherits);
    return suite;
}
