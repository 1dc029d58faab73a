/* SPDX-License-Identifier: MIT */
/*
 * The nursery, with each start method.
 */
#include "nursery_cases.h"

#include "leftovers.h"

#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

/* ---- nothing is left ---- */

static unsigned fds_before, threads_before;

void count_before(void)
{
    struct stage stage;

    stage_open(&stage, SOON_START_FORK); /* a sanitizer starts a thread of its own then */
    stage_close(&stage);
    fds_before = descriptor_count();
    threads_before = thread_count();
}

void count_after(void)
{
    ck_assert_uint_eq(descriptor_count(), fds_before);
    /* One that is joined is there for a moment longer, and so may have been that
     * of count_before(). */
    while (thread_count() > threads_before)
        sleep_ns(SOON_MS(1));
    ck_assert(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
}

/* ---- birth ---- */

static void on_signal(int signal_number)
{
    (void)signal_number;
}

START_TEST(workers_are_born_with_what_they_need)
{
    struct stage stage;

    REQUIRE(setenv("SOON_TEST_WORD", "in the air", 1) == 0);
    signal(SIGUSR1, on_signal);
    stage_open(&stage, _i);
    struct puppet puppet = puppet_new(&stage, 3);
    struct look look = puppet_look(&stage, &puppet);

    ck_assert_int_eq(look.pid, puppet.pid);
    ck_assert_int_eq(look.group, puppet.pid);
    ck_assert_int_ne(look.parent, getpid());
    ck_assert_int_eq(look.parent == stage.nursery.twin, _i != SOON_START_FORKSERVER);
    ck_assert_int_eq(look.death_signal, SIGKILL);
    ck_assert(look.mask_is_empty);
    ck_assert(look.sigint_ignored);
    ck_assert(look.sigusr1_default);
    ck_assert(!look.has_sockets);
    ck_assert(!look.has_variable);
    ck_assert(look.event_works);
    ck_assert_str_eq(look.word, "word");
    ck_assert_str_eq(look.env, "in the air");
    if (_i == SOON_START_SPAWN)
        ck_assert_str_eq(look.argument, "--soon-worker");
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

START_TEST(memory_is_of_the_moment_that_the_method_says)
{
    static const int expected[METHODS] = {
        [SOON_START_FORKSERVER] = 1, [SOON_START_FORK] = 2, [SOON_START_SPAWN] = 0};
    struct stage stage;

    puppet_memory = 1;
    stage_open(&stage, _i);
    puppet_memory = 2;
    struct puppet puppet = puppet_new(&stage, 0);
    ck_assert_int_eq(puppet_look(&stage, &puppet).memory, expected[_i]);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

enum { CROWD = 40 };

START_TEST(many_are_born_and_die_each_under_its_own_name)
{
    struct puppet puppet[CROWD];
    bool died[CROWD] = {false};
    struct stage stage;

    stage_open(&stage, _i);
    for (unsigned i = 0; i < CROWD; i++)
        assert_ok(puppet_ask(&stage, &puppet[i], i));
    for (unsigned i = 0; i < CROWD; i++)
        puppet_await(&stage, &puppet[i]);
    for (unsigned i = 0; i < CROWD; i++)
        puppet_exit(&puppet[i], (int)i);
    for (unsigned i = 0; i < CROWD; i++) {
        struct soon__report report = next_report(&stage);
        ck_assert_int_eq(report.kind, SOON__REPORT_DIED);
        ck_assert_uint_lt(report.berth.seat, CROWD);
        ck_assert(!died[report.berth.seat]);
        died[report.berth.seat] = true;
        ck_assert_int_eq(report.pid, puppet[report.berth.seat].pid);
        ck_assert_int_eq(report.how.code, (int)report.berth.seat);
        ck_assert_int_eq(report.how.signal, 0);
    }
    for (unsigned i = 0; i < CROWD; i++)
        puppet_drop(&puppet[i]);
    stage_close(&stage);
}
END_TEST

/* ---- death ---- */

static const int exit_codes[] = {0, 1, 7, 255};
static const int signals[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGPIPE};

START_TEST(each_end_is_reported)
{
    struct puppet puppet;
    struct stage stage;

    stage_open(&stage, _i);
    for (unsigned i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++) {
        puppet = puppet_new(&stage, i);
        puppet_exit(&puppet, exit_codes[i]);
        assert_died(&stage, &puppet, 0, exit_codes[i]);
        puppet_drop(&puppet);
    }
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        puppet = puppet_new(&stage, i);
        puppet_raise(&puppet, signals[i]);
        assert_died(&stage, &puppet, signals[i], 0);
        puppet_drop(&puppet);
    }
    stage_close(&stage);
}
END_TEST

START_TEST(a_pidfd_reaches_the_worker)
{
    struct stage stage;

    stage_open(&stage, _i);
    struct puppet puppet = puppet_new(&stage, 1);
    assert_ok(soon__process_signal(puppet.pidfd, SIGSTOP));
    assert_ok(soon__process_signal(puppet.pidfd, SIGKILL)); /* a stopped one too */
    assert_ends(puppet.pidfd);
    assert_died(&stage, &puppet, SIGKILL, 0);
    ck_assert_int_eq(soon__process_signal(puppet.pidfd, SIGKILL), -ESRCH);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

START_TEST(what_a_worker_forked_dies_with_it)
{
    struct stage stage;
    const bool exits = _i >= METHODS;

    stage_open(&stage, _i % METHODS);
    struct puppet puppet = puppet_new(&stage, 1);
    int grandchild = soon__process_open(puppet_fork(&puppet));
    if (exits)
        puppet_exit(&puppet, 0);
    else
        kill(puppet.pid, SIGKILL);
    assert_died(&stage, &puppet, exits ? 0 : SIGKILL, 0);
    assert_ends(grandchild);
    close(grandchild);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

START_TEST(a_close_ends_all_of_them)
{
    struct puppet puppet[4];
    struct stage stage;

    stage_open(&stage, _i);
    for (unsigned i = 0; i < 4; i++)
        puppet[i] = puppet_new(&stage, i);
    int grandchild = soon__process_open(puppet_fork(&puppet[2]));
    kill(puppet[1].pid, SIGSTOP);
    stage_close(&stage);
    for (unsigned i = 0; i < 4; i++) /* not soon: they are dead */
        ck_assert_int_eq(soon__process_signal(puppet[i].pidfd, 0), -ESRCH);
    assert_ends(grandchild);
    close(grandchild);
    for (unsigned i = 0; i < 4; i++)
        puppet_drop(&puppet[i]);
}
END_TEST

/* ---- the nursery's own end ---- */

static void assert_gone(struct stage *stage)
{
    struct soon__report report;
    struct puppet puppet;
    int error;

    stage_await_gone(stage);
    while ((error = await_report(stage, &report)) == 0)
        ck_assert_int_eq(report.kind, SOON__REPORT_DIED);
    ck_assert_int_eq(error, -EPIPE);
    ck_assert_int_eq(await_report(stage, &report), -EPIPE);
    ck_assert_int_eq(puppet_ask(stage, &puppet, 0), -EPIPE);
    puppet_drop(&puppet);
}

/* By whom: the nursery itself, or, with FORKSERVER, the twin above it. */
START_TEST(workers_die_with_a_nursery_that_is_killed)
{
    struct stage stage;
    const bool twin = _i >= METHODS;

    stage_open(&stage, _i % METHODS);
    struct puppet one = puppet_new(&stage, 1), other = puppet_new(&stage, 2);
    kill(other.pid, SIGSTOP);
    stage_round_trip(&stage);
    kill(twin ? stage.nursery.twin : stage_nursery_pid(&one), SIGKILL);
    assert_ends(one.pidfd);
    assert_ends(other.pidfd);
    assert_gone(&stage);
    puppet_drop(&one);
    puppet_drop(&other);
    stage_close(&stage);
}
END_TEST

START_TEST(a_stopped_nursery_does_not_hold_up_a_close)
{
    struct stage stage;
    const bool twin = _i >= METHODS;

    stage_open(&stage, _i % METHODS);
    struct puppet puppet = puppet_new(&stage, 1);
    kill(twin ? stage.nursery.twin : stage_nursery_pid(&puppet), SIGSTOP);
    stage_close(&stage);
    ck_assert_int_eq(soon__process_signal(puppet.pidfd, 0), -ESRCH);
    puppet_drop(&puppet);
}
END_TEST

START_TEST(it_can_be_opened_and_closed_for_ever)
{
    struct stage stage;

    for (size_t i = 0; i < scaled(350); i++) { /* times three methods */
        stage_open(&stage, _i);
        if (i % 4 == 0) {
            struct puppet puppet = puppet_new(&stage, 1);
            stage_round_trip(&stage); /* a twin is not to be killed at any moment */
            if (i % 8 == 0)
                kill(stage_nursery_pid(&puppet), SIGKILL);
            puppet_drop(&puppet);
        }
        stage_close(&stage);
    }
}
END_TEST

START_TEST(two_nurseries_do_not_mix)
{
    struct stage one, other;

    stage_open(&one, _i);
    struct puppet first = puppet_new(&one, 1);
    stage_open(&other, _i);
    struct puppet second = puppet_new(&other, 1);
    stage_close(&one); /* although workers of the other have been forked meanwhile */
    ck_assert_int_eq(soon__process_signal(first.pidfd, 0), -ESRCH);
    puppet_look(&other, &second);
    puppet_exit(&second, 5);
    assert_died(&other, &second, 0, 5);
    stage_close(&other);
    puppet_drop(&first);
    puppet_drop(&second);
}
END_TEST

/* ---- what the program sees ---- */

static _Atomic int sigchlds;

static void on_sigchld(int signal_number)
{
    (void)signal_number;
    sigchlds++;
}

/* How a program may stand to its own children. */
static const struct sigaction stands[] = {
    {.sa_handler = on_sigchld},
    {.sa_handler = SIG_IGN},
    {.sa_handler = on_sigchld, .sa_flags = SA_NOCLDWAIT},
    {.sa_handler = SIG_DFL},
};
enum { STANDS = sizeof stands / sizeof stands[0] };

START_TEST(the_program_has_no_children_and_no_signals)
{
    const struct sigaction *stand = &stands[_i / METHODS];
    struct sigaction after;
    struct stage stage;

    sigchlds = 0;
    REQUIRE(sigaction(SIGCHLD, stand, NULL) == 0);
    stage_open(&stage, _i % METHODS);
    for (int i = 0; i < 3; i++) {
        struct puppet puppet = puppet_new(&stage, 1);
        ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
        puppet_exit(&puppet, i);
        assert_died(&stage, &puppet, 0, i);
        puppet_drop(&puppet);
        ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
    }
    stage_close(&stage);
    ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
    ck_assert_int_eq(sigchlds, 0);
    REQUIRE(sigaction(SIGCHLD, NULL, &after) == 0);
    ck_assert(after.sa_handler == stand->sa_handler);
}
END_TEST

/* Its own children come and go meanwhile. */
START_TEST(the_programs_own_children_stay_its_own)
{
    struct stage stage;
    int status;

    stage_open(&stage, _i);
    struct puppet puppet = puppet_new(&stage, 1);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        _exit(3);
    ck_assert_int_eq(waitpid(-1, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    puppet_exit(&puppet, 4);
    assert_died(&stage, &puppet, 0, 4);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

void add_life_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "life");

    tcase_add_checked_fixture(tc, count_before, count_after);
    tcase_add_loop_test(tc, workers_are_born_with_what_they_need, 0, METHODS);
    tcase_add_loop_test(tc, memory_is_of_the_moment_that_the_method_says, 0, METHODS);
    tcase_add_loop_test(tc, many_are_born_and_die_each_under_its_own_name, 0, METHODS);
    tcase_add_loop_test(tc, each_end_is_reported, 0, METHODS);
    tcase_add_loop_test(tc, a_pidfd_reaches_the_worker, 0, METHODS);
    tcase_add_loop_test(tc, what_a_worker_forked_dies_with_it, 0, 2 * METHODS);
    tcase_add_loop_test(tc, a_close_ends_all_of_them, 0, METHODS);
    tcase_add_loop_test(tc, workers_die_with_a_nursery_that_is_killed, 0, 2 * METHODS);
    tcase_add_loop_test(tc, a_stopped_nursery_does_not_hold_up_a_close, 0, 2 * METHODS);
    tcase_add_loop_test(tc, it_can_be_opened_and_closed_for_ever, 0, METHODS);
    tcase_add_loop_test(tc, two_nurseries_do_not_mix, 0, METHODS);
    tcase_add_loop_test(tc, the_program_has_no_children_and_no_signals, 0, STANDS * METHODS);
    tcase_add_loop_test(tc, the_programs_own_children_stay_its_own, 0, METHODS);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("nursery");

    if (RUNNING_ON_VALGRIND) {
        fprintf(stderr, "nursery: skipped: valgrind knows neither pidfd_open(2) nor processes "
                        "that share memory\n");
        exit(77);
    }
    add_life_cases(suite);
    add_host_cases(suite);
    add_trouble_cases(suite);
    return suite;
}
