/* SPDX-License-Identifier: MIT */
/*
 * Users and rights change: of the program, which then may not signal its
 * workers, and of a worker, which perhaps nobody may signal any more. Tasks end
 * all the same, and the pool goes on.
 */
#include "process_pool.h"

#include "os/inject.h"
#include "process_pool/pool.h"

#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* Gives up the right to signal processes of other users, or takes it again. */
static void allow_kill(bool allowed)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    REQUIRE(syscall(SYS_capget, &header, data) == 0);
    data[0].effective =
        allowed ? data[0].effective | 1U << CAP_KILL : data[0].effective & ~(1U << CAP_KILL);
    REQUIRE(syscall(SYS_capset, &header, data) == 0);
}

static void assert_timed_out(soon_future *f, int signal, const char *words)
{
    soon_error error;

    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(error.code == -ETIME, "%d: %s", error.code, error.message);
    ck_assert_int_eq(error.signal, signal);
    ck_assert_msg(strstr(error.message, words), "no %s in \"%s\"", words, error.message);
}

/* ---- the program may not signal its workers ---- */

/* An initializer: before the time of any task. */
static int be_deaf(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    signal(SIGTERM, SIG_IGN);
    return 0;
}

/* Everything that needs a signal. before() is called before each of them. None
 * is helped by another one. */
static void end_by_force(int method, void (*before)(void))
{
    const soon_process_pool_options options = {.max_workers = 1, .kill_grace = SOON_SECONDS(3600)};
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(method, &options);
    soon_future *f;

    before();
    f = submit_named(ex, task_for_ever, NULL, 0, NULL, SOON_MS(20));
    assert_timed_out(f, SIGTERM, "SIGTERM");
    soon_future_unref(f);

    before();
    pid_t pid = perch(ex, &hold, &f);
    assert_ok(soon_future_kill(f));
    await_gone(pid);
    soon_future_unref(f);
    assert_works(ex);

    before();
    pid = perch(ex, &hold, &f);
    assert_ok(soon_process_pool_kill_workers(ex));
    assert_owner_dead(f, SIGKILL, 0, NULL);
    await_gone(pid);
    soon_future_unref(f);
    pool_down(ex, 4);
    hold_free(&hold);
}

static void refuse_the_next(void)
{
    soon__inject_after(SOON__INJECT_SIGNAL, 1);
}

START_TEST(what_the_program_may_not_the_nursery_does)
{
    end_by_force(_i, refuse_the_next);
    ck_assert(soon__inject_fired(SOON__INJECT_SIGNAL));
}
END_TEST

/* Also what is left of the two signals when the first one was of no use. */
START_TEST(who_survives_sigterm_is_killed_by_the_nursery)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .kill_grace = SOON_MS(10), .initializer = be_deaf};
    soon_executor *ex = pool_up(_i, &options);
    soon_future *f;

    soon__inject_after(SOON__INJECT_SIGNAL, 2); /* SIGTERM, SIGKILL */
    f = submit_named(ex, task_for_ever, NULL, 0, NULL, SOON_MS(100));
    assert_timed_out(f, SIGKILL, "SIGKILL");
    ck_assert(soon__inject_fired(SOON__INJECT_SIGNAL));
    soon_future_unref(f);
    assert_works(ex);
    pool_down(ex, 2);
}
END_TEST

static void be_nobody(void)
{
    REQUIRE(setresuid(NOBODY, NOBODY, 0) == 0);
}

START_TEST(a_program_that_has_changed_its_user_ends_its_workers)
{
    end_by_force(_i, be_nobody);
    REQUIRE(setresuid(0, 0, 0) == 0);
}
END_TEST

/* Root still, it has the process go on when the gate opens. */
static pid_t awaken_at(struct gate gate, pid_t pid)
{
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child)
        return child;
    gate_pass(gate);
    REQUIRE(kill(pid, SIGCONT) == 0);
    _exit(0);
}

/* More signals than its socket holds are to be sent while it is stopped. */
START_TEST(a_nursery_that_does_not_listen_is_told_again)
{
    enum { MANY = 24 };
    const int least = 0;
    struct gate gate = gate_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = MANY});
    int nursery_fd = ((struct pool *)ex)->nursery.fd;
    struct process worker[MANY];
    soon_future *f[MANY];

    for (int i = 0; i < MANY; i++)
        f[i] = submit(ex, task_for_ever, NULL, 0);
    while (workers_of("soon", worker, MANY) < MANY)
        sched_yield();
    pool_await_workers(ex, MANY); /* or else it has fewer to signal */
    REQUIRE(setsockopt(nursery_fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
    REQUIRE(kill(worker[0].parent, SIGSTOP) == 0);
    pid_t awaker = awaken_at(gate, worker[0].parent);
    be_nobody();
    assert_ok(soon_process_pool_terminate_workers(ex));
    soon__lock_acquire(&((struct pool *)ex)->lock);
    ck_assert(((struct pool *)ex)->unsent);
    soon__lock_release(&((struct pool *)ex)->lock);
    gate_open(gate);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(soon_future_wait(f[i], SOON_FOREVER), 0);
    unref_all(f, MANY);
    pool_down(ex, MANY);
    REQUIRE(setresuid(0, 0, 0) == 0);
    REQUIRE(waitpid(awaker, NULL, 0) == awaker);
    gate_free(gate);
}
END_TEST

/* ---- nobody may signal a worker ---- */

/* What the system does for a worker of another user it does here for any. */
START_TEST(a_worker_that_can_not_be_killed_is_given_up)
{
    struct hold hold = hold_make();
    soon__inject_after(SOON__INJECT_SIGNAL, 1);
    soon__inject_after(SOON__INJECT_KILL, 1); /* in the nursery, which is a copy */
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit_named(ex, task_perch, &hold, sizeof hold, "strayed", SOON_MS(300));

    bell_await(hold.started, 1);
    assert_timed_out(f, 0, "'strayed' ran past its timeout of 300 ms; worker");
    assert_timed_out(f, 0, "can't be killed");
    soon_future_unref(f);
    ck_assert(process_lives(board()->pid[0]));
    assert_works(ex);
    ck_assert_uint_eq(pool_figures(ex).workers, 1);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    gate_open(hold.release); /* its function returns, and it sees that it is not needed */
    await_gone(board()->pid[0]);
    assert_works(ex);
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

/* Ones that nobody can end must not become any number. */
START_TEST(given_up_workers_count_against_the_restart_intensity)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .restart_window = SOON_SECONDS(3600)};
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_future *f;

    soon__inject_after(SOON__INJECT_SIGNAL, 1);
    soon__inject_after(SOON__INJECT_KILL, 1);
    ex = pool_up(_i, &options);
    f = submit_named(ex, task_perch, &hold, sizeof hold, "strayed", SOON_MS(20));
    assert_timed_out(f, 0, "can't be killed");
    assert_broken(ex, "can't be killed");
    soon_future_unref(f);
    pool_down(ex, 1);
    gate_open(hold.release);
    hold_free(&hold);
}
END_TEST

/* An initializer, before the time of any task: the first worker is nobody's. */
static int let_the_first_be_nobody(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    if (atomic_fetch_add(&board()->count[0], 1) == 0)
        REQUIRE(setresuid(NOBODY, NOBODY, NOBODY) == 0);
    return 0;
}

/* Its worker has nothing to do after that. */
static int task_stray(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    (void)call;
    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    REQUIRE(setresuid(NOBODY, NOBODY, NOBODY) == 0);
    bell_ring(hold.started);
    return 0;
}

/* Without the right to signal others, of a program that may change its user. */
START_TEST(a_worker_of_another_user_is_given_up)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .initializer = let_the_first_be_nobody};
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_future *f;

    allow_kill(false);
    ex = pool_up(_i, &options);
    f = submit_named(ex, task_perch, &hold, sizeof hold, NULL, SOON_MS(300));
    bell_await(hold.started, 1);
    assert_timed_out(f, 0, "can't be killed");
    soon_future_unref(f);
    assert_works(ex);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(pool_figures(ex).workers, 0);
    soon_executor_unref(ex);
    ck_assert(process_lives(board()->pid[0]));
    gate_open(hold.release);
    await_gone(board()->pid[0]);
    allow_kill(true);
    hold_free(&hold);
}
END_TEST

/* ---- the end of a program whose rights have changed ---- */

static soon_ns a_second(void)
{
    const char *multiplier = getenv("CK_TIMEOUT_MULTIPLIER");

    return SOON_SECONDS(1) * (multiplier ? atoi(multiplier) : 1);
}

static void assert_nobody_left(void)
{
    const soon_ns deadline = now_ns() + a_second();
    struct process left[8];
    size_t n;

    while ((n = processes_of_test("", left, 8)) > 0) {
        ck_assert_msg(now_ns() < deadline, "%zu processes left, such as %d (%s, %c)", n,
                      (int)left[0].pid, left[0].name, left[0].state);
        sleep_ns(SOON_MS(1));
    }
}

/* One worker is at it, one has nothing to do. */
static _Noreturn void be_the_program(int method, const struct hold *hold, struct bell up,
                                     bool stray)
{
    const soon_process_pool_options options = {.max_workers = 2, .start_method = method};
    soon_executor *ex = NULL;
    soon_future *f = NULL;

    allow_kill(!stray);
    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    REQUIRE(soon_submit(ex, stray ? task_stray : task_hold, hold, sizeof *hold, &f) == 0);
    bell_await(hold->started, 1);
    if (stray)
        REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    else
        REQUIRE(setresuid(NOBODY, NOBODY, NOBODY) == 0);
    bell_ring(up);
    for (;;)
        pause();
}

static void assert_ends_with_the_program(int method, bool stray)
{
    struct hold hold = hold_make();
    struct bell up = bell_make();
    pid_t program;

    fflush(NULL);
    program = fork();
    REQUIRE(program >= 0);
    if (program == 0)
        be_the_program(method, &hold, up, stray);
    bell_await(up, 1);
    REQUIRE(kill(program, SIGKILL) == 0);
    REQUIRE(waitpid(program, NULL, 0) == program);
    assert_nobody_left();
    bell_free(up);
    hold_free(&hold);
}

START_TEST(a_program_that_has_changed_its_user_leaves_nobody)
{
    assert_ends_with_the_program(_i, false);
}
END_TEST

START_TEST(a_worker_that_can_not_be_killed_ends_with_the_program)
{
    assert_ends_with_the_program(_i, true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_rights");
    TCase *program = test_case(suite, "the program");
    TCase *worker = test_case(suite, "a worker");

    add_over_methods(program, what_the_program_may_not_the_nursery_does);
    add_over_methods(program, who_survives_sigterm_is_killed_by_the_nursery);
    add_over_methods(worker, a_worker_that_can_not_be_killed_is_given_up);
    add_over_methods(worker, given_up_workers_count_against_the_restart_intensity);
    if (geteuid() != 0) {
        fprintf(stderr, "process_rights: who is not root cannot change users: 5 tests left out\n");
        return suite;
    }
    add_over_methods(program, a_program_that_has_changed_its_user_ends_its_workers);
    add_over_methods(program, a_nursery_that_does_not_listen_is_told_again);
    add_over_methods(program, a_program_that_has_changed_its_user_leaves_nobody);
    add_over_methods(worker, a_worker_of_another_user_is_given_up);
    add_over_methods(worker, a_worker_that_can_not_be_killed_ends_with_the_program);
    return suite;
}
