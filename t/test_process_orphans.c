/* SPDX-License-Identifier: MIT */
/*
 * When the program is gone, however it went, so is everything that it had
 * started: within a second. And when one of the processes between it and its
 * workers is gone the pool goes on.
 *
 * The program is a child of the test here. Its orphans become children of
 * Check's process, where they are looked for.
 */
#include "process_pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the end of the program ---- */

/* What its workers do at the end. */
enum business { IDLE, ASLEEP, SPINNING, DEAF, STOPPED, NESTED, BUSINESSES };

static const char *const businesses[] = {
    [IDLE] = "idle", [ASLEEP] = "asleep",   [SPINNING] = "in an endless loop",
    [DEAF] = "deaf", [STOPPED] = "stopped", [NESTED] = "with a pool of their own"};

/* A pool of one's own needs threads. */
static int businesses_of(int method)
{
    return tasks_may_start_threads(method, businesses[NESTED]) ? BUSINESSES : NESTED;
}

static int task_business(soon_call *call, const void *arg, size_t arg_len);

/* Rings when its process has got down to business. */
struct job {
    enum business business;
    struct bell ready;
    int method; /* of a nested pool */
};

static void nest(const struct job *job)
{
    const soon_process_pool_options options = {.max_workers = 1, .start_method = job->method};
    const struct job inner = {SPINNING, job->ready, 0};
    soon_executor *ex = NULL;

    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    REQUIRE(soon_submit(ex, task_business, &inner, sizeof inner, NULL) == 0);
}

static int task_business(soon_call *call, const void *arg, size_t arg_len)
{
    volatile bool over = false;
    struct job job;

    REQUIRE(arg_len == sizeof job);
    memcpy(&job, arg, sizeof job);
    if (job.business == DEAF)
        for (int i = 1; i < 32; i++)
            signal(i, SIG_IGN);
    if (job.business == NESTED)
        nest(&job); /* whose task rings */
    else
        bell_ring(job.ready);
    if (job.business == IDLE)
        return 0;
    if (job.business == STOPPED)
        raise(SIGSTOP);
    while (job.business == SPINNING || job.business == DEAF)
        if (over)
            return 0;
    return task_for_ever(call, NULL, 0);
}

enum way { BY_KILL, BY_EXIT, BY__EXIT, BY_ABORT, BY_RETURN_OF_MAKER, WAYS };

struct end {
    int method;
    enum business business;
    struct bell ready;
};

/* Makes a pool and waits until all of its workers are at it. */
static void get_down_to_business(void *data)
{
    const struct end *end = data;
    const soon_process_pool_options options = {.max_workers = 2, .start_method = end->method};
    const struct job job = {end->business, end->ready, end->method};
    soon_executor *ex = NULL;

    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    for (int i = 0; i < 2; i++)
        REQUIRE(soon_submit(ex, task_business, &job, sizeof job, NULL) == 0);
    bell_await(end->ready, 2);
}

static _Noreturn void abort_quietly(void)
{
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* Ends the program; it was told to do so by a gate, or is killed. */
static _Noreturn void be_the_program(struct end *end, enum way way, struct bell up, struct gate go)
{
    struct thread maker;

    if (way == BY_RETURN_OF_MAKER) {
        thread_start(&maker, get_down_to_business, end);
        thread_join(&maker);
    } else {
        get_down_to_business(end);
    }
    bell_ring(up);
    gate_pass(go);
    if (way == BY_EXIT)
        exit(0);
    if (way == BY_ABORT)
        abort_quietly();
    if (way == BY__EXIT || way == BY_RETURN_OF_MAKER)
        _exit(0);
    for (;;)
        pause();
}

static soon_ns a_second(void)
{
    const char *multiplier = getenv("CK_TIMEOUT_MULTIPLIER");

    return SOON_SECONDS(1) * (multiplier ? atoi(multiplier) : 1);
}

/* Within a second so many are left. */
static void assert_left(size_t allowed, const char *what)
{
    const soon_ns deadline = now_ns() + a_second();
    struct process left[8];
    size_t n;

    while ((n = processes_of_test("", left, 8)) > allowed) {
        ck_assert_msg(now_ns() < deadline, "%s: %zu processes left, such as %d (%s, %c)", what, n,
                      (int)left[0].pid, left[0].name, left[0].state);
        sleep_ns(SOON_MS(1));
    }
}

static void assert_ends_with_the_program(int method, enum business business, enum way way)
{
    struct end end = {method, business, bell_make()};
    struct bell up = bell_make();
    struct gate go = gate_make();
    pid_t program;

    fflush(NULL);
    program = fork();
    REQUIRE(program >= 0);
    if (program == 0)
        be_the_program(&end, way, up, go);
    bell_await(up, 1);
    ck_assert_uint_ge(processes_below(program, "", NULL, 0), 2);
    if (way == BY_KILL)
        REQUIRE(kill(program, SIGKILL) == 0);
    gate_open(go);
    REQUIRE(waitpid(program, NULL, 0) == program);
    assert_left(0, businesses[business]);
    bell_free(end.ready);
    bell_free(up);
    gate_free(go);
}

START_TEST(killed_it_leaves_nobody)
{
    for (int business = 0; business < businesses_of(_i); business++)
        assert_ends_with_the_program(_i, (enum business)business, BY_KILL);
}
END_TEST

START_TEST(leaving_in_any_other_way_it_leaves_nobody)
{
    for (int way = BY_EXIT; way < WAYS; way++) {
        assert_ends_with_the_program(_i, IDLE, (enum way)way);
        assert_ends_with_the_program(_i, SPINNING, (enum way)way);
        assert_ends_with_the_program(_i, STOPPED, (enum way)way);
    }
}
END_TEST

/* ---- what its tasks have forked ---- */

/* Leaves a child behind in its process group, which has one as well. */
static int task_fork(soon_call *call, const void *arg, size_t arg_len)
{
    struct job job;

    REQUIRE(arg_len == sizeof job);
    memcpy(&job, arg, sizeof job);
    if (fork() == 0) {
        (void)!fork();
        return task_for_ever(call, NULL, 0);
    }
    bell_ring(job.ready);
    return 0;
}

static void have_forked(const struct end *end)
{
    const soon_process_pool_options options = {.max_workers = 2, .start_method = end->method};
    const struct job job = {IDLE, end->ready, end->method};
    soon_executor *ex = NULL;

    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    for (int i = 0; i < 3; i++)
        REQUIRE(soon_submit(ex, task_fork, &job, sizeof job, NULL) == 0);
    bell_await(end->ready, 3);
}

/* The fork server sees to it, also if it was stopped. */
START_TEST(a_fork_server_takes_along_what_tasks_have_forked)
{
    enum { KILLED, EXECUTING, SERVER_STOPPED, TWIN_KILLED, WAYS_TO_GO };

    for (int way = 0; way < WAYS_TO_GO; way++) {
        struct end end = {SOON_START_FORKSERVER, IDLE, bell_make()};
        struct bell up = bell_make();
        struct process of[2];
        pid_t program;

        fflush(NULL);
        program = fork();
        REQUIRE(program >= 0);
        if (program == 0) {
            have_forked(&end);
            bell_ring(up);
            if (way == EXECUTING)
                execl("/bin/sleep", "sleep", "3600", (char *)NULL);
            task_for_ever(NULL, NULL, 0);
        }
        bell_await(up, 1);
        if (way == SERVER_STOPPED) {
            REQUIRE(processes_below(program, "soon-nursery", of, 2) == 1);
            REQUIRE(kill(of[0].pid, SIGSTOP) == 0);
        }
        if (way == TWIN_KILLED) {
            REQUIRE(processes_below(program, "soon-twin", of, 2) == 1);
            REQUIRE(kill(of[0].pid, SIGKILL) == 0);
            assert_left(4, "the twin was killed"); /* with a new one */
        }
        if (way == EXECUTING)
            assert_left(1, "executing");
        REQUIRE(kill(program, SIGKILL) == 0);
        REQUIRE(waitpid(program, NULL, 0) == program);
        assert_left(0, "what was forked");
        bell_free(end.ready);
        bell_free(up);
    }
}
END_TEST

/* Another program takes over: what it finds is not its. */
START_TEST(executing_another_program_it_leaves_nobody)
{
    for (int business = 0; business < businesses_of(_i); business++) {
        struct end end = {_i, (enum business)business, bell_make()};
        const soon_ns begin = now_ns();
        pid_t program;

        fflush(NULL);
        program = fork();
        REQUIRE(program >= 0);
        if (program == 0) {
            get_down_to_business(&end);
            execl("/bin/sleep", "sleep", "3600", (char *)NULL);
            _exit(127);
        }
        for (struct process self; now_ns() < begin + 30 * a_second(); sched_yield())
            if (processes_of_test("sleep", &self, 1) == 1)
                break;
        assert_left(1, businesses[business]);
        REQUIRE(kill(program, SIGKILL) == 0);
        REQUIRE(waitpid(program, NULL, 0) == program);
        bell_free(end.ready);
    }
}
END_TEST

/* Killed at any moment: while it makes the pool, and while workers start. */
START_TEST(killed_at_any_moment_it_leaves_nobody)
{
    const size_t rounds = scaled(100);

    for (size_t round = 0; round < rounds; round++) {
        const soon_process_pool_options options = {
            .max_workers = 3, .start_method = _i, .max_tasks_per_child = 1};
        struct bell up = bell_make();
        pid_t program;

        fflush(NULL);
        program = fork();
        REQUIRE(program >= 0);
        if (program == 0) {
            bell_ring(up);
            for (;;) {
                soon_executor *ex = NULL;

                REQUIRE(soon_process_pool_new(&options, &ex) == 0);
                for (int i = 0; i < 6; i++)
                    REQUIRE(soon_submit(ex, task_nothing, NULL, 0, NULL) == 0);
                REQUIRE(soon_shutdown(ex, round % 2 ? 0 : SOON_FOREVER, 0) == 0);
                soon_executor_unref(ex);
            }
        }
        bell_await(up, 1);
        sleep_ns((soon_ns)(round * 7919 % 20000) * 1000);
        REQUIRE(kill(program, SIGKILL) == 0);
        REQUIRE(waitpid(program, NULL, 0) == program);
        assert_left(0, "at work");
        bell_free(up);
    }
}
END_TEST

/* ---- the end of those in between ---- */

/* Every process of the pool's that is none of its workers. */
static size_t ancestors_of_workers(struct process *out, size_t max)
{
    struct process all[32];
    size_t n = processes_below(getpid(), "", all, 32), found = 0;

    REQUIRE(n <= 32);
    for (size_t i = 0; i < n; i++)
        if (!is_worker_of(&all[i], "crew") && found < max)
            out[found++] = all[i];
    return found;
}

/* Those between the program and one of its workers; none that was killed before
 * and is just going. */
static size_t ancestors_of(pid_t worker, pid_t *out, size_t max)
{
    struct process all[32];
    size_t n = processes_below(getpid(), "", all, 32), found = 0, i;

    REQUIRE(n <= 32);
    for (pid_t pid = worker;;) {
        for (i = 0; i < n && all[i].pid != pid; i++)
            ;
        if (i == n || all[i].parent == getpid())
            return found;
        pid = all[i].parent;
        REQUIRE(found < max);
        out[found++] = pid;
    }
}

static soon_executor *crew(int method)
{
    return pool_up(method, &(soon_process_pool_options){.max_workers = 2, .name = "crew"});
}

START_TEST(without_those_in_between_the_pool_goes_on)
{
    struct process between[4];
    size_t n = 1;

    for (size_t which = 0; which < n; which++) {
        struct hold hold = hold_make();
        soon_executor *ex = crew(_i);
        soon_future *running[2], *pending[50];

        for (int i = 0; i < 2; i++)
            running[i] = submit_named(ex, task_hold, &hold, sizeof hold, "decode", 0);
        bell_await(hold.started, 2);
        for (int i = 0; i < 50; i++)
            pending[i] = submit_int(ex, task_tick, i % 16);
        n = ancestors_of_workers(between, 4);
        ck_assert_uint_ge(n, 1);
        REQUIRE(kill(between[which].pid, SIGKILL) == 0);
        for (int i = 0; i < 2; i++)
            assert_owner_dead(running[i], SIGKILL, 0, (const char *const[]){"decode", NULL});
        for (int i = 0; i < 50; i++)
            assert_result_bytes(pending[i], "", 0);
        for (int i = 0; i < 16; i++) {
            ck_assert_uint_eq(board()->count[i], 50 / 16 + (i < 50 % 16));
            board()->count[i] = 0;
        }
        await_gone(between[which].pid);
        unref_all(running, 2);
        unref_all(pending, 50);
        pool_down(ex, 52);
        hold_free(&hold);
    }
}
END_TEST

START_TEST(killed_again_and_again_while_idle_they_are_replaced)
{
    soon_executor *ex = crew(_i);

    for (int i = 0; i < 8; i++) {
        pid_t above[4];
        soon_future *f = submit(ex, task_pid, NULL, 0);
        pid_t worker = pid_of(f);
        size_t n = ancestors_of(worker, above, 4);

        soon_future_unref(f);
        ck_assert_uint_ge(n, 1);
        REQUIRE(kill(above[(size_t)i % n], SIGKILL) == 0);
        await_gone(above[(size_t)i % n]);
        await_gone(worker); /* or else it may take the next one yet, and that with it */
    }
    pool_down(ex, 8);
}
END_TEST

/* All signals that a careless kill(1) may send: they are for the program, and
 * not for those in between. */
START_TEST(those_in_between_are_not_to_be_disturbed)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM};
    soon_executor *ex = crew(_i);
    soon_future *f = submit(ex, task_pid, NULL, 0);
    pid_t worker = pid_of(f);
    struct process between[4];
    size_t n = ancestors_of_workers(between, 4);

    soon_future_unref(f);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof signals / sizeof signals[0]; k++)
            REQUIRE(kill(between[i].pid, signals[k]) == 0);
    f = submit(ex, task_pid, NULL, 0);
    assert_pid(f, worker);
    soon_future_unref(f);
    f = submit_death(ex, DIE_SEGV);
    assert_owner_dead(f, SIGSEGV, 0, NULL);
    soon_future_unref(f);
    f = submit_int(ex, task_square, 5);
    assert_result_int(f, 25);
    soon_future_unref(f);
    for (size_t i = 0; i < n; i++)
        ck_assert(process_lives(between[i].pid));
    pool_down(ex, 4);
}
END_TEST

START_TEST(a_shutdown_after_their_death_ends)
{
    soon_executor *ex = crew(_i);
    struct process between[4];
    size_t n;

    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    n = ancestors_of_workers(between, 4);
    ck_assert_uint_ge(n, 1);
    for (size_t i = 0; i < n; i++)
        kill(between[i].pid, SIGKILL);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, SOON_CANCEL_FUTURES));
    pool_down(ex, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_orphans");
    TCase *program = test_case(suite, "the program");
    TCase *between = test_case(suite, "those in between");

    add_over_methods(program, killed_it_leaves_nobody);
    add_over_methods(program, leaving_in_any_other_way_it_leaves_nobody);
    tcase_add_test(program, a_fork_server_takes_along_what_tasks_have_forked);
    add_over_methods(program, executing_another_program_it_leaves_nobody);
    add_over_methods(program, killed_at_any_moment_it_leaves_nobody);

    add_over_methods(between, without_those_in_between_the_pool_goes_on);
    add_over_methods(between, killed_again_and_again_while_idle_they_are_replaced);
    add_over_methods(between, those_in_between_are_not_to_be_disturbed);
    add_over_methods(between, a_shutdown_after_their_death_ends);
    return suite;
}
