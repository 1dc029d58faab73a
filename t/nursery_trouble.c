/* SPDX-License-Identifier: MIT */
/*
 * What fails, what is full, and what makes no sense.
 */
#include "nursery_cases.h"

#include "leftovers.h"
#include "os/inject.h"
#include "os/packet.h"
#include "os/process.h"
#include "process_pool/brood.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- failures ---- */

static const enum soon__inject_point points[] = {
    SOON__INJECT_ALLOC, SOON__INJECT_THREAD, SOON__INJECT_SOCKET,
    SOON__INJECT_FORK,  SOON__INJECT_PIDFD,  SOON__INJECT_SIGNALFD,
};
enum { POINTS = sizeof points / sizeof points[0] };

/* Opens a nursery and asks it for a worker. Whatever fails, it is one of the
 * two, and says so. True: nothing has. */
static bool goes_well(int method)
{
    struct soon__report report;
    struct puppet puppet;
    struct stage stage;

    int error = stage_try_open(&stage, method);
    if (error) {
        ck_assert_msg(error == -EAGAIN || error == -ENOMEM || error == -EMFILE, "%d", error);
        ck_assert_int_eq(stage.nursery.fd, -1);
        soon__nursery_close(&stage.nursery); /* nothing */
        return false;
    }
    error = puppet_ask(&stage, &puppet, 1);
    REQUIRE(error == 0);
    report = next_report(&stage);
    if (report.kind == SOON__REPORT_FAILED) {
        ck_assert(report.error == -EAGAIN || report.error == -EMFILE);
        ck_assert_int_eq(report.pidfd, -1);
        ck_assert_uint_eq(report.berth.generation, puppet.berth.generation);
    } else {
        ck_assert_int_eq(report.kind, SOON__REPORT_BORN);
        puppet.pidfd = report.pidfd;
    }
    puppet_drop(&puppet);
    stage_close(&stage);
    return report.kind == SOON__REPORT_BORN;
}

/* puppet_ask() has a socket of its own, and would notice. */
static int failures_at(enum soon__inject_point point, int method)
{
    const int most = point == SOON__INJECT_SOCKET ? 1 : 10;
    int failures = 0;

    for (int n = 1; n <= most; n++) {
        soon__inject_after(point, n);
        bool well = goes_well(method);
        soon__inject_after(point, 0);
        if (well)
            break;
        failures++;
    }
    return failures;
}

START_TEST(each_failure_is_reported_and_leaves_nothing)
{
    static const int expected[POINTS][METHODS] = {
        /* FORKSERVER, FORK, SPAWN */
        {1, 1, 2}, /* memory */
        {1, 1, 1}, /* the thread */
        {1, 1, 1}, /* the socket */
        {3, 2, 2}, /* the twin, the nursery, the worker */
        {2, 2, 2}, /* the program's pidfd, the worker's */
        {1, 1, 1}, /* the bell */
    };
    const int point = _i / METHODS, method = _i % METHODS;

    ck_assert_int_eq(failures_at(points[point], method), expected[point][method]);
}
END_TEST

/* ---- descriptors run out ---- */

/* No descriptor can be opened until it is given the limit back that it had. */
static struct rlimit fill_up(void)
{
    struct rlimit before, full;
    int next = dup(STDERR_FILENO);

    REQUIRE(next >= 0);
    close(next);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    full = (struct rlimit){(rlim_t)next, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &full) == 0);
    return before;
}

/* The pidfd does not come through: the worker is given up, and dies. With
 * FORK and SPAWN, which share the table but not the limit, it is the same. */
START_TEST(a_worker_without_a_pidfd_is_sent_back)
{
    struct soon__report report;
    struct puppet puppet;
    struct stage stage;

    stage_open(&stage, _i);
    unsigned descriptors = descriptor_count();
    assert_ok(puppet_ask(&stage, &puppet, 1));
    struct pollfd poll_fd = {.fd = stage.nursery.fd, .events = POLLIN};
    REQUIRE(poll(&poll_fd, 1, -1) == 1);
    /* What it has in a shared table it closes a moment after it has reported,
     * and that would be room below the limit. */
    while (descriptor_count() > descriptors + 1)
        sched_yield();
    struct rlimit before = fill_up();
    report = next_report(&stage);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    ck_assert_int_eq(report.kind, SOON__REPORT_FAILED);
    ck_assert_int_eq(report.error, -EMFILE);
    ck_assert_int_eq(report.pidfd, -1);
    ck_assert_uint_eq(report.berth.generation, puppet.berth.generation);
    report = next_report(&stage);
    ck_assert_int_eq(report.kind, SOON__REPORT_DIED);
    ck_assert_int_eq(report.how.signal, SIGKILL);
    ck_assert_uint_eq(report.berth.generation, puppet.berth.generation);
    puppet_drop(&puppet);

    puppet = puppet_new(&stage, 2);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

/* The nursery has the limit of when it was made. */
START_TEST(a_nursery_without_descriptors_says_so)
{
    struct soon__report report;
    struct puppet puppet;
    struct rlimit before, few;
    struct stage stage;

    stage_open(&stage, _i);
    struct puppet first = puppet_new(&stage, 0);
    pid_t nursery = stage_nursery_pid(&first);
    REQUIRE(prlimit(nursery, RLIMIT_NOFILE, NULL, &before) == 0);
    few = (struct rlimit){3, before.rlim_max};
    REQUIRE(prlimit(nursery, RLIMIT_NOFILE, &few, NULL) == 0);
    assert_ok(puppet_ask(&stage, &puppet, 1));
    report = next_report(&stage);
    ck_assert_int_eq(report.kind, SOON__REPORT_FAILED);
    ck_assert_int_eq(report.error, -EMFILE);
    ck_assert_uint_eq(report.berth.generation, puppet.berth.generation);
    puppet_drop(&puppet);

    REQUIRE(prlimit(nursery, RLIMIT_NOFILE, &before, NULL) == 0);
    puppet = puppet_new(&stage, 2);
    puppet_drop(&puppet);
    puppet_drop(&first);
    stage_close(&stage);
}
END_TEST

/* ---- one side is slow ---- */

static void shrink(int fd)
{
    const int least = 0;

    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
}

START_TEST(a_full_socket_asks_to_try_again)
{
    enum { MOST = 100 };
    struct puppet puppet[MOST];
    struct stage stage;
    unsigned asked = 0;
    int error = 0;

    stage_open(&stage, _i);
    struct puppet first = puppet_new(&stage, 1000);
    pid_t nursery = stage_nursery_pid(&first);
    shrink(stage.nursery.fd);
    kill(nursery, SIGSTOP);
    while (asked < MOST && (error = puppet_ask(&stage, &puppet[asked], asked)) == 0)
        asked++;
    ck_assert_int_eq(error, -EAGAIN);
    ck_assert_uint_gt(asked, 0);
    puppet_drop(&puppet[asked]);
    kill(nursery, SIGCONT);
    for (unsigned i = 0; i < asked; i++)
        puppet_await(&stage, &puppet[i]);
    for (unsigned i = 0; i < asked; i++)
        puppet_drop(&puppet[i]);
    puppet_drop(&first);
    stage_close(&stage);
}
END_TEST

/* Nobody reads its reports, and it sleeps: it can be closed all the same. */
START_TEST(a_nursery_that_nobody_hears_ends)
{
    enum { REPORTS = 30 };
    struct puppet puppet[REPORTS];
    struct stage stage;

    stage_open(&stage, _i);
    shrink(stage.nursery.far_fd);
    for (unsigned i = 0; i < REPORTS; i++)
        assert_ok(puppet_ask(&stage, &puppet[i], i));
    if (_i == SOON_START_FORK) { /* is there a full buffer at all? */
        struct pollfd poll_fd = {.fd = stage.nursery.far_fd, .events = POLLOUT};
        while (poll(&poll_fd, 1, 0) == 1)
            sleep_ns(SOON_MS(1));
    }
    stage_close(&stage);
    for (unsigned i = 0; i < REPORTS; i++)
        puppet_drop(&puppet[i]);
}
END_TEST

/* ---- what makes no sense ---- */

static const struct garbage {
    struct soon__report report;
    size_t len;
    unsigned fds;
} garbage[] = {
    {.report = {.kind = SOON__REPORT_STAYS, .pid = 1}},
    {.report = {.kind = SOON__REPORT_STAYS, .pid = 0, .error = -EPERM}},
    {.report = {.kind = SOON__REPORT_STAYS, .pid = 1, .error = -EPERM}, .fds = 1},
    {.report = {.kind = 4, .pid = 1}},
    {.report = {.kind = (enum soon__report_kind) - 1, .pid = 1}},
    {.report = {.kind = SOON__REPORT_BORN, .pid = 1}},
    {.report = {.kind = SOON__REPORT_BORN, .pid = 0}, .fds = 1},
    {.report = {.kind = SOON__REPORT_BORN, .pid = -1}, .fds = 1},
    {.report = {.kind = SOON__REPORT_BORN, .pid = 1}, .fds = 2},
    {.report = {.kind = SOON__REPORT_FAILED, .error = 0}},
    {.report = {.kind = SOON__REPORT_FAILED, .error = 1}},
    {.report = {.kind = SOON__REPORT_FAILED, .error = -EAGAIN}, .fds = 1},
    {.report = {.kind = SOON__REPORT_DIED, .pid = 0}},
    {.report = {.kind = SOON__REPORT_DIED, .pid = 1}, .fds = 1},
    {.report = {.kind = SOON__REPORT_DIED, .pid = 1}, .len = 1},
    {.report = {.kind = SOON__REPORT_DIED, .pid = 1}, .len = sizeof(struct soon__report) - 1},
};
enum { GARBAGE = sizeof garbage / sizeof garbage[0] };

START_TEST(a_report_that_makes_no_sense_ends_the_nursery)
{
    const struct garbage *g = &garbage[_i];
    struct soon__report report;
    struct stage stage;

    stage_open(&stage, SOON_START_FORKSERVER);
    const int fds[] = {stage.gone.fd, stage.gone.fd};
    size_t len = g->len ? g->len : sizeof g->report;
    assert_ok(soon__packet_send(stage.nursery.far_fd, &g->report, len, fds, g->fds, false));
    ck_assert_int_eq(soon__nursery_read(&stage.nursery, &report), -EPIPE);
    stage_await_gone(&stage);
    stage_close(&stage);
}
END_TEST

START_TEST(a_request_without_descriptors_is_refused)
{
    struct stage stage;

    stage_open(&stage, _i);
    stage_round_trip(&stage);
    stage_close(&stage);
}
END_TEST

START_TEST(a_signal_for_nobody_is_nothing)
{
    const struct soon__request request = {
        .kind = SOON__REQUEST_SIGNAL, .berth = {7, 8}, .signal = SIGKILL};
    struct stage stage;

    stage_open(&stage, _i);
    struct puppet puppet = puppet_new(&stage, 7);
    assert_ok(soon__packet_send(stage.nursery.fd, &request, sizeof request, NULL, 0, false));
    puppet_exit(&puppet, 6);
    assert_died(&stage, &puppet, 0, 6);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

/* ---- the variable of a spawned worker ---- */

/* Executes this program with that value, and with the pid that it has if format
 * asks for one, as if spawned: its exit code, and what it says. */
static int execute_with(const char *format, char *said, size_t size)
{
    char name[] = "test_nursery", *argv[] = {name, NULL}, value[200];
    int fds[2], status;
    ssize_t len;

    REQUIRE(pipe(fds) == 0);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        if (strstr(format, "%d"))
            snprintf(value, sizeof value, format, (int)getpid());
        else
            snprintf(value, sizeof value, "%s", format);
        setenv("SOON_SPAWNED", value, 1);
        setenv("SOON_TEST_ALONE", "1", 1);
        execv("/proc/self/exe", argv);
        _exit(98);
    }
    close(fds[1]);
    REQUIRE((len = read(fds[0], said, size - 1)) >= 0);
    said[len] = '\0';
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static const char *const values[] = {
    "",
    "0,1,2",
    "0,1,2,1",
    "0,1,2,1,",
    ",,,,",
    "0,1,2,1,%d,5",
    "0,1,2,1,%d ",
    " 0,1,2,1,%d",
    "0,1,,1,%d",
    "-1,1,2,1,%d",
    "+0,1,2,1,%d",
    "0x0,1,2,1,%d",
    "0,1,2000,1,%d",
    "0,1,99999999999,1,%d",
    "0 ,1,2,1,%d",
    "0,1,2,4294967297,%d",
    "0;1;2;1;%d",
    "worker",
    "0,1,2,99999999999999999999999999999999999,%d",
    "0,1,2147483648,1,%d",
    "0,1,2,1,-%d",
};

START_TEST(a_variable_from_elsewhere_is_refused)
{
    char said[300];

    ck_assert_int_eq(execute_with(values[_i], said, sizeof said), 127);
    ck_assert_ptr_nonnull(strstr(said, "SOON_SPAWNED"));
    ck_assert(strchr(said, '\n') == said + strlen(said) - 1); /* one line */
}
END_TEST

START_TEST(a_worker_whose_parent_is_gone_ends)
{
    char said[300];

    ck_assert_int_eq(execute_with("0,1,2,1073741824,%d", said, sizeof said), 0);
    ck_assert_str_eq(said, "");
}
END_TEST

/* A worker may have executed another program before it came to soon_init(). */
START_TEST(a_variable_for_another_process_is_dropped)
{
    char said[300];

    ck_assert_int_eq(execute_with("0,1,2,3,1073741824", said, sizeof said), 33);
    ck_assert_str_eq(said, "");
}
END_TEST

/* The one of its own a spawned worker gets, whatever the program found. */
START_TEST(a_variable_is_not_inherited)
{
    struct stage stage;

    REQUIRE(setenv("SOON_SPAWNED", "0,1,2,3", 1) == 0);
    stage_open(&stage, SOON_START_SPAWN);
    struct puppet puppet = puppet_new(&stage, 1);
    ck_assert(!puppet_look(&stage, &puppet).has_variable);
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

/* Threads of the program may change it at any time. */
START_TEST(the_environment_is_that_of_the_opening)
{
    struct stage stage;

    REQUIRE(setenv("SOON_TEST_WORD", "before", 1) == 0);
    stage_open(&stage, SOON_START_SPAWN);
    REQUIRE(clearenv() == 0);
    struct puppet puppet = puppet_new(&stage, 1);
    ck_assert_str_eq(puppet_look(&stage, &puppet).env, "before");
    puppet_drop(&puppet);
    stage_close(&stage);
    stage_open(&stage, SOON_START_SPAWN);
    puppet = puppet_new(&stage, 1);
    ck_assert_str_eq(puppet_look(&stage, &puppet).env, "");
    puppet_drop(&puppet);
    stage_close(&stage);
}
END_TEST

static void add_spawn_cases(TCase *tc)
{
    tcase_add_loop_test(tc, a_variable_from_elsewhere_is_refused, 0,
                        (int)(sizeof values / sizeof values[0]));
    tcase_add_test(tc, a_worker_whose_parent_is_gone_ends);
    tcase_add_test(tc, a_variable_for_another_process_is_dropped);
    tcase_add_test(tc, a_variable_is_not_inherited);
    tcase_add_test(tc, the_environment_is_that_of_the_opening);
}

void add_trouble_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "trouble");

    tcase_add_checked_fixture(tc, count_before, count_after);
    tcase_add_loop_test(tc, each_failure_is_reported_and_leaves_nothing, 0, POINTS * METHODS);
    tcase_add_loop_test(tc, a_worker_without_a_pidfd_is_sent_back, 0, METHODS);
    tcase_add_loop_test(tc, a_nursery_without_descriptors_says_so, 0, METHODS);
    tcase_add_loop_test(tc, a_full_socket_asks_to_try_again, 0, METHODS);
    tcase_add_loop_test(tc, a_nursery_that_nobody_hears_ends, 0, METHODS);
    tcase_add_loop_test(tc, a_report_that_makes_no_sense_ends_the_nursery, 0, GARBAGE);
    tcase_add_loop_test(tc, a_request_without_descriptors_is_refused, 0, METHODS);
    tcase_add_loop_test(tc, a_signal_for_nobody_is_nothing, 0, METHODS);
    add_spawn_cases(tc);
}
