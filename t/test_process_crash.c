/* SPDX-License-Identifier: MIT */
/* A worker that dies costs the one task that it was running, and is replaced. */
#include "process_pool.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static soon_executor *pool_of(int method, unsigned workers)
{
    return pool_up(method, &(soon_process_pool_options){.max_workers = workers});
}

static void submit_squares(soon_executor *ex, soon_future **out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = submit_int(ex, task_square, i);
}

/* Checks and drops them. */
static void assert_squares(soon_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, (size_t)n);
}

/* ---- each kind of death ---- */

static void assert_death_costs_one_task(int method, enum death how)
{
    const char *const words[] = {"decode", death_name(how), NULL};
    soon_executor *ex = pool_of(method, 2);
    soon_future *before[20], *doomed, *after[20];
    soon_stats stats;

    submit_squares(ex, before, 20);
    doomed = submit_death(ex, how);
    submit_squares(ex, after, 20);
    assert_owner_dead(doomed, death_signal(how), death_code(how), words);
    ck_assert_int_eq(soon_future_value(doomed, SOON_FOREVER, NULL, NULL), -EOWNERDEAD);
    assert_squares(before, 20);
    assert_squares(after, 20);
    soon_future_unref(doomed);
    stats = pool_figures(ex);
    ck_assert_uint_eq(stats.workers_crashed, 1);
    ck_assert_uint_eq(stats.workers_replaced, 0);
    ck_assert_uint_eq(stats.failed, 1);
    ck_assert_uint_eq(stats.finished, 40);
    pool_down(ex, 41);
}

START_TEST(each_death_costs_one_task_forkserver)
{
    assert_death_costs_one_task(SOON_START_FORKSERVER, (enum death)_i);
}
END_TEST

START_TEST(each_death_costs_one_task_fork)
{
    assert_death_costs_one_task(SOON_START_FORK, (enum death)_i);
}
END_TEST

START_TEST(each_death_costs_one_task_spawn)
{
    assert_death_costs_one_task(SOON_START_SPAWN, (enum death)_i);
}
END_TEST

/* "worker 4711 died of SIGSEGV while running 'decode'" */
START_TEST(the_message_says_who_died_of_what_while_doing_what)
{
    static const struct {
        int signal;
        const char *name;
    } signals[] = {{SIGTERM, "SIGTERM"}, {SIGKILL, "SIGKILL"}, {SIGBUS, "SIGBUS"}};
    struct hold hold = hold_make();
    soon_executor *ex = pool_of(_i, 1);

    for (int i = 0; i < 3; i++) {
        soon_future *f =
            submit_named(ex, task_perch, &hold, sizeof hold, "a rather long name of a task", 0);
        char pid_text[16];
        const char *words[] = {pid_text, signals[i].name, "a rather long name of a task", NULL};
        pid_t pid;

        bell_await(hold.started, 1);
        pid = board()->pid[0];
        snprintf(pid_text, sizeof pid_text, "%d", (int)pid);
        REQUIRE(kill(pid, signals[i].signal) == 0);
        assert_owner_dead(f, signals[i].signal, 0, words);
        soon_future_unref(f);
    }
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

START_TEST(a_task_without_a_name_is_spoken_of_too)
{
    const char *const words[] = {"SIGABRT", NULL};
    const enum death how = DIE_ABORT;
    soon_executor *ex = pool_of(_i, 1);
    soon_future *f = submit(ex, task_die, &how, sizeof how);

    assert_owner_dead(f, SIGABRT, 0, words);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* ---- what was handed ahead ---- */

/* Holds, then dies. */
static int task_hold_and_die(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_KILL;

    task_hold(call, arg, arg_len);
    return task_die(call, &how, sizeof how);
}

START_TEST(what_waited_behind_it_runs_once_elsewhere)
{
    enum { N = 200 };
    struct hold hold = hold_make();
    soon_executor *ex = pool_of(_i, 1);
    soon_future *doomed = submit(ex, task_hold_and_die, &hold, sizeof hold), *behind[N];

    bell_await(hold.started, 1);
    for (int i = 0; i < N; i++)
        behind[i] = submit_int(ex, task_tick, i % 16);
    gate_open(hold.release);
    assert_owner_dead(doomed, SIGKILL, 0, NULL);
    for (int i = 0; i < N; i++)
        assert_result_bytes(behind[i], "", 0);
    for (int i = 0; i < 16; i++)
        ck_assert_uint_eq(board()->count[i], N / 16 + (i < N % 16));
    soon_future_unref(doomed);
    unref_all(behind, N);
    pool_down(ex, N + 1);
    hold_free(&hold);
}
END_TEST

START_TEST(many_in_a_row_may_die)
{
    enum { N = 40 };
    soon_executor *ex = pool_of(_i, 2);
    soon_future *dead[N], *alive[N];

    for (int i = 0; i < N; i++) {
        dead[i] = submit_death(ex, DIE__EXIT);
        alive[i] = submit_int(ex, task_square, i);
    }
    for (int i = 0; i < N; i++) {
        assert_owner_dead(dead[i], 0, 4, NULL);
        soon_future_unref(dead[i]);
    }
    assert_squares(alive, N);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, N);
    pool_down(ex, 2 * N);
}
END_TEST

START_TEST(the_death_of_an_idle_worker_costs_no_task)
{
    soon_executor *ex = pool_of(_i, 1);
    soon_future *f;
    pid_t pid;

    for (int i = 0; i < 5; i++) {
        f = submit(ex, task_pid, NULL, 0);
        pid = pid_of(f);
        soon_future_unref(f);
        REQUIRE(kill(pid, SIGKILL) == 0);
        await_gone(pid); /* or else it may take a task yet, and that with it */
        f = submit_int(ex, task_square, i);
        assert_result_int(f, i * i);
        soon_future_unref(f);
    }
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 5);
    pool_down(ex, 10);
}
END_TEST

START_TEST(a_stopped_worker_can_be_killed_from_outside)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_of(_i, 1);
    soon_future *f;
    pid_t pid = perch(ex, &hold, &f);

    REQUIRE(kill(pid, SIGSTOP) == 0);
    REQUIRE(kill(pid, SIGKILL) == 0);
    assert_owner_dead(f, SIGKILL, 0, NULL);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

/* ---- many futures at once ---- */

static int task_square_or_die(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_SEGV;
    int n;

    REQUIRE(arg_len == sizeof n);
    memcpy(&n, arg, sizeof n);
    return n == 13 ? task_die(call, &how, sizeof how) : task_square(call, arg, arg_len);
}

START_TEST(a_map_loses_the_chunk_of_the_item_that_kills)
{
    enum { N = 50, UNTOUCHED = -1 };
    const soon_map_options options = {.chunk_size = 5, .keep_going = true};
    soon_executor *ex = pool_of(_i, 2);
    int items[N], results[N];

    for (int i = 0; i < N; i++) {
        items[i] = i;
        results[i] = UNTOUCHED;
    }
    ck_assert_int_eq(
        soon_map(ex, task_square_or_die, items, sizeof(int), N, results, sizeof(int), &options),
        -EOWNERDEAD);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(results[i], i / 5 == 13 / 5 ? UNTOUCHED : i * i);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

START_TEST(waits_and_callbacks_see_a_death)
{
    soon_executor *ex = pool_of(_i, 1);
    soon_future *f[3] = {submit_int(ex, task_square, 1), submit_death(ex, DIE_SEGV),
                         submit_int(ex, task_square, 2)};
    soon_as_completed *it = NULL;
    soon_future *out;

    ck_assert_int_ge(soon_wait(f, 3, SOON_FIRST_EXCEPTION, SOON_FOREVER), 1);
    ck_assert(soon_future_done(f[1]));
    ck_assert_int_eq(soon_wait(f, 3, SOON_ALL_COMPLETED, SOON_FOREVER), 3);
    assert_ok(soon_as_completed_new(f, 3, &it));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
        soon_future_unref(out);
    }
    soon_as_completed_free(it);
    unref_all(f, 3);
    pool_down(ex, 3);
}
END_TEST

/* ---- memory ---- */

/* Takes memory until it is refused, which must not be later than allowed. */
static int task_devour(soon_call *call, const void *arg, size_t arg_len)
{
    enum { PIECE = 1 << 20 };
    size_t allowed, taken = 0;

    REQUIRE(arg_len == sizeof allowed);
    memcpy(&allowed, arg, sizeof allowed);
    for (; taken <= allowed; taken += PIECE) {
        void *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (piece == MAP_FAILED)
            return soon_fail(call, -errno, "refused after %zu bytes", taken);
        memset(piece, 1, PIECE);
    }
    return 0;
}

static int task_rlimit(soon_call *call, const void *arg, size_t arg_len)
{
    struct rlimit limit;

    (void)arg;
    (void)arg_len;
    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    return soon_return(call, &limit, sizeof limit);
}

START_TEST(a_worker_gets_no_more_memory_than_it_may_have)
{
    const size_t limit = 64 << 20;
    const soon_process_pool_options options = {.max_workers = 1, .max_worker_memory = limit};
    soon_executor *ex = pool_up(_i, &options);
    soon_future *f = submit(ex, task_pid, NULL, 0);
    const pid_t pid = pid_of(f);

    soon_future_unref(f);
    f = submit(ex, task_devour, &limit, sizeof limit);
    assert_error(f, -ENOMEM, SOON_FROM_TASK, NULL);
    soon_future_unref(f);
    f = submit(ex, task_pid, NULL, 0);
    assert_pid(f, pid);
    soon_future_unref(f);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    pool_down(ex, 3);
}
END_TEST

START_TEST(without_a_limit_of_its_own_a_worker_has_that_of_the_program)
{
    soon_executor *ex = pool_of(_i, 1);
    soon_future *f = submit(ex, task_rlimit, NULL, 0);
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    assert_result_bytes(f, &limit, sizeof limit);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* A result for which the worker has no memory is the task's error, and the
 * worker lives on. */
static int task_large_result(soon_call *call, const void *arg, size_t arg_len)
{
    size_t len;
    void *room;

    REQUIRE(arg_len == sizeof len);
    memcpy(&len, arg, sizeof len);
    room = soon_return_buffer(call, len);
    if (!room)
        return soon_fail(call, -ENOMEM, "no room for %zu bytes", len);
    memset(room, 'r', len);
    return 0;
}

START_TEST(a_result_beyond_the_limit_is_an_error_of_the_task)
{
    const soon_process_pool_options options = {.max_workers = 1, .max_worker_memory = 32 << 20};
    const size_t len = 256 << 20;
    soon_executor *ex = pool_up(_i, &options);
    soon_future *f = submit(ex, task_large_result, &len, sizeof len);

    assert_error(f, -ENOMEM, SOON_FROM_TASK, NULL);
    soon_future_unref(f);
    f = submit_int(ex, task_square, 11);
    assert_result_int(f, 121);
    soon_future_unref(f);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    pool_down(ex, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_crash");
    TCase *kinds = test_case(suite, "kinds");
    TCase *behind = test_case(suite, "behind");
    TCase *many = test_case(suite, "many");
    TCase *memory = test_case(suite, "memory");

    tcase_add_loop_test(kinds, each_death_costs_one_task_forkserver, 0, DEATHS);
    tcase_add_loop_test(kinds, each_death_costs_one_task_fork, 0, DEATHS);
    tcase_add_loop_test(kinds, each_death_costs_one_task_spawn, 0, DEATHS);
    add_over_methods(kinds, the_message_says_who_died_of_what_while_doing_what);
    add_over_methods(kinds, a_task_without_a_name_is_spoken_of_too);

    add_over_methods(behind, what_waited_behind_it_runs_once_elsewhere);
    add_over_methods(behind, many_in_a_row_may_die);
    add_over_methods(behind, the_death_of_an_idle_worker_costs_no_task);
    add_over_methods(behind, a_stopped_worker_can_be_killed_from_outside);

    add_over_methods_in_a_busy_program(many, a_map_loses_the_chunk_of_the_item_that_kills);
    add_over_methods(many, waits_and_callbacks_see_a_death);

    add_over_methods(memory, a_worker_gets_no_more_memory_than_it_may_have);
    add_over_methods(memory, without_a_limit_of_its_own_a_worker_has_that_of_the_program);
    add_over_methods(memory, a_result_beyond_the_limit_is_an_error_of_the_task);
    return suite;
}
