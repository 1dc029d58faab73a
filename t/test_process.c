/* SPDX-License-Identifier: MIT */
/*
 * Processes: children, twins, and what goes between them.
 *
 * A child tells how it went by its exit code: 0, or the line that failed.
 */
#include "process_cases.h"

#include "os/inject.h"
#include "os/process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what the files share ---- */

pid_t child_start(int (*child)(void *data), void *data)
{
    pid_t pid = fork();

    REQUIRE(pid >= 0);
    if (pid == 0)
        _exit(child(data));
    return pid;
}

void child_exits(pid_t pid, int code)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == code,
                  "the child ended with status %#x", (unsigned)status);
}

void assert_child(int (*child)(void *data), void *data)
{
    child_exits(child_start(child, data), 0);
}

void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

/* No more than that: one that was joined before they were counted may have been
 * there for a moment longer. */
void await_thread_count(unsigned threads)
{
    while (thread_count() > threads)
        sleep_ns(SOON_MS(1));
}

/* ---- how children end ---- */

static int child_pause(void *data)
{
    (void)data;
    while (pause() < 0)
        ;
    return 0;
}

static int child_exit_42(void *data)
{
    (void)data;
    return 42;
}

static pid_t await_ended(struct soon__exit *how)
{
    pid_t pid;

    while ((pid = soon__process_ended(how)) == 0)
        sleep_ns(SOON_MS(1));
    return pid;
}

START_TEST(without_children_nobody_has_ended)
{
    struct soon__exit how;

    ck_assert_int_eq(soon__process_ended(&how), -ECHILD);
}
END_TEST

START_TEST(a_child_that_lives_has_not_ended)
{
    struct soon__exit how;
    pid_t pid = child_start(child_pause, NULL);

    ck_assert_int_eq(soon__process_ended(&how), 0);
    soon__process_kill(pid);
    soon__process_bury(pid);
    ck_assert_int_eq(soon__process_ended(&how), -ECHILD);
}
END_TEST

START_TEST(an_end_is_told_until_it_is_buried)
{
    struct soon__exit how = {.signal = 99};
    pid_t pid = child_start(child_exit_42, NULL);

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(await_ended(&how), pid);
        ck_assert_int_eq(how.signal, 0);
        ck_assert_int_eq(how.code, 42);
    }
    soon__process_bury(pid);
    ck_assert_int_eq(soon__process_ended(&how), -ECHILD);
}
END_TEST

static const int deadly[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT};

START_TEST(a_deadly_signal_is_told)
{
    struct soon__exit how = {.code = 99};

    signal(deadly[_i], SIG_DFL); /* Check and the sanitizers have handlers */
    pid_t pid = child_start(child_pause, NULL);
    int pidfd = soon__process_open(pid);

    ck_assert_int_ge(pidfd, 0);
    assert_ok(soon__process_signal(pidfd, deadly[_i]));
    ck_assert_int_eq(await_ended(&how), pid);
    ck_assert_int_eq(how.signal, deadly[_i]);
    ck_assert_int_eq(how.code, 0);
    soon__process_bury(pid);
    ck_assert_int_eq(soon__process_signal(pidfd, SIGKILL), -ESRCH);
    close(pidfd);
}
END_TEST

START_TEST(a_pidfd_becomes_readable_at_the_end)
{
    pid_t pid = child_start(child_pause, NULL);
    struct pollfd poll_fd = {.fd = soon__process_open(pid), .events = POLLIN};

    ck_assert_int_ge(poll_fd.fd, 0);
    ck_assert_int_eq(poll(&poll_fd, 1, 0), 0);
    soon__process_kill(pid);
    ck_assert_int_eq(poll(&poll_fd, 1, -1), 1);
    soon__process_bury(pid);
    close(poll_fd.fd);
}
END_TEST

START_TEST(a_pidfd_that_fails_is_reported)
{
    soon__inject_after(SOON__INJECT_PIDFD, 1);
    ck_assert_int_eq(soon__process_open(getpid()), -EMFILE);
    ck_assert(soon__inject_fired(SOON__INJECT_PIDFD));
    soon__inject_after(SOON__INJECT_FORK, 1);
    ck_assert_int_eq(soon__process_fork(), -EAGAIN);
    soon__inject_after(SOON__INJECT_SIGNALFD, 1);
    ck_assert_int_eq(soon__process_bell(), -EMFILE);
}
END_TEST

/* ---- groups ---- */

/* A leader of a group of its own, with a child in the group, whose pidfd is
 * received through a pipe's end. */
struct family {
    int pid_pipe[2];
    bool leader_exits;
};

static int child_leader(void *data)
{
    const struct family *family = data;

    setpgid(0, 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid = getpid();
        REQUIRE(write(family->pid_pipe[1], &pid, sizeof pid) == sizeof pid);
        child_pause(NULL);
    }
    return family->leader_exits ? 0 : child_pause(NULL);
}

START_TEST(what_a_child_forked_goes_with_it)
{
    struct family family = {.leader_exits = _i};
    pid_t leader, follower;

    REQUIRE(pipe(family.pid_pipe) == 0);
    leader = child_start(child_leader, &family);
    REQUIRE(read(family.pid_pipe[0], &follower, sizeof follower) == sizeof follower);
    struct pollfd poll_fd = {.fd = soon__process_open(follower), .events = POLLIN};
    ck_assert_int_ge(poll_fd.fd, 0);
    if (!family.leader_exits)
        kill(leader, SIGKILL);
    soon__process_bury(leader);
    ck_assert_int_eq(poll(&poll_fd, 1, 10000), 1);
    close(poll_fd.fd);
    close_pair(family.pid_pipe);
}
END_TEST

START_TEST(kill_reaches_a_child_outside_its_group)
{
    struct soon__exit how;
    pid_t pid = child_start(child_pause, NULL); /* in our group */

    soon__process_kill(pid);
    ck_assert_int_eq(await_ended(&how), pid);
    ck_assert_int_eq(how.signal, SIGKILL);
    soon__process_bury(pid);
}
END_TEST

START_TEST(a_stopped_child_goes_on_or_dies)
{
    struct soon__exit how;
    siginfo_t info;
    pid_t pid = child_start(child_pause, NULL);

    kill(pid, SIGSTOP);
    REQUIRE(waitid(P_PID, (id_t)pid, &info, WSTOPPED) == 0);
    soon__process_continue(pid);
    REQUIRE(waitid(P_PID, (id_t)pid, &info, WCONTINUED) == 0);
    kill(pid, SIGSTOP);
    REQUIRE(waitid(P_PID, (id_t)pid, &info, WSTOPPED) == 0);
    ck_assert_int_eq(soon__process_ended(&how), 0);
    soon__process_kill(pid);
    soon__process_bury(pid);
}
END_TEST

/* ---- a new process settles ---- */

static void on_signal(int signal_number)
{
    (void)signal_number;
}

static bool has_action(int signal_number, void (*handler)(int))
{
    struct sigaction action;

    return sigaction(signal_number, NULL, &action) == 0 && action.sa_handler == handler;
}

#define CHILD_EXPECT(condition) \
    do {                        \
        if (!(condition))       \
            return __LINE__;    \
    } while (0)

static int child_settles(void *data)
{
    int death_signal = 0;
    sigset_t mask;

    CHILD_EXPECT(soon__process_settle(*(pid_t *)data));
    CHILD_EXPECT(getpgrp() == getpid());
    CHILD_EXPECT(prctl(PR_GET_PDEATHSIG, &death_signal) == 0 && death_signal == SIGKILL);
    CHILD_EXPECT(has_action(SIGUSR1, SIG_DFL));
    CHILD_EXPECT(has_action(SIGTERM, SIG_DFL));
    CHILD_EXPECT(has_action(SIGRTMAX, SIG_DFL));
    CHILD_EXPECT(has_action(SIGPIPE, SIG_IGN));
    CHILD_EXPECT(has_action(SIGCHLD, SIG_DFL));
    CHILD_EXPECT(has_action(SIGINT, SIG_IGN));
    CHILD_EXPECT(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    for (int signal_number = 1; signal_number < 32; signal_number++)
        CHILD_EXPECT(sigismember(&mask, signal_number) == 0);
    return 0;
}

START_TEST(a_settled_process_has_plain_signals)
{
    pid_t self = getpid();
    sigset_t before;

    signal(SIGUSR1, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGRTMAX, on_signal);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, on_signal);
    soon__signals_block(&before);
    pid_t pid = child_start(child_settles, &self);
    soon__signals_restore(&before);
    child_exits(pid, 0);
}
END_TEST

static int child_of_another(void *data)
{
    (void)data;
    CHILD_EXPECT(!soon__process_dies_with(1 << 30));
    CHILD_EXPECT(!soon__process_settle(1 << 30));
    return 0;
}

START_TEST(a_process_whose_parent_is_gone_notices)
{
    assert_child(child_of_another, NULL);
}
END_TEST

static int child_of_a_dying_parent(void *data)
{
    int pipe_fd = *(int *)data;
    pid_t self = getpid(), pid = fork();

    if (pid == 0) {
        bool tied = soon__process_dies_with(self);
        pid = getpid();
        REQUIRE(tied && write(pipe_fd, &pid, sizeof pid) == sizeof pid);
        child_pause(NULL);
    }
    return child_pause(NULL);
}

START_TEST(a_tied_process_goes_with_its_parent)
{
    int fds[2];
    pid_t pid;

    REQUIRE(pipe(fds) == 0);
    pid_t parent = child_start(child_of_a_dying_parent, &fds[1]);
    REQUIRE(read(fds[0], &pid, sizeof pid) == sizeof pid);
    struct pollfd poll_fd = {.fd = soon__process_open(pid), .events = POLLIN};
    ck_assert_int_eq(poll(&poll_fd, 1, 0), 0);
    kill(parent, SIGKILL);
    ck_assert_int_eq(poll(&poll_fd, 1, 10000), 1);
    soon__process_bury(parent);
    close(poll_fd.fd);
    close_pair(fds);
}
END_TEST

/* ---- names and limits ---- */

static int child_is_named(void *data)
{
    char title[16];

    (void)data;
    soon__process_name("soon", 7);
    CHILD_EXPECT(prctl(PR_GET_NAME, title) == 0 && strcmp(title, "soon-7") == 0);
    soon__process_name("a-name-beyond-all-bounds", 65535);
    CHILD_EXPECT(prctl(PR_GET_NAME, title) == 0 && strcmp(title, "a-name-be-65535") == 0);
    soon__process_title("a-title-beyond-all-bounds");
    CHILD_EXPECT(prctl(PR_GET_NAME, title) == 0 && strcmp(title, "a-title-beyond-") == 0);
    return 0;
}

START_TEST(names_are_cut_to_what_the_kernel_keeps)
{
    assert_child(child_is_named, NULL);
}
END_TEST

static bool can_map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory != MAP_FAILED && munmap(memory, size) == 0;
}

static int child_is_limited(void *data)
{
    const size_t mib = 1 << 20;
    struct rlimit limit;

    (void)data;
    CHILD_EXPECT(can_map(200 * mib));
    CHILD_EXPECT(soon__process_limit_memory(64 * mib) == 0);
    CHILD_EXPECT(can_map(32 * mib));
    CHILD_EXPECT(!can_map(128 * mib));
    CHILD_EXPECT(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_max == limit.rlim_cur);
    /* A limit is never raised, and one without end is none. */
    CHILD_EXPECT(soon__process_limit_memory(256 * mib) == 0);
    CHILD_EXPECT(!can_map(128 * mib));
    CHILD_EXPECT(soon__process_limit_memory(SIZE_MAX) == 0);
    CHILD_EXPECT(!can_map(128 * mib));
    return 0;
}

static int child_is_limited_elsewhere(void *data)
{
    CHILD_EXPECT(chroot(data) == 0);
    CHILD_EXPECT(access("/proc", F_OK) != 0);
    return child_is_limited(NULL);
}

START_TEST(a_limit_of_memory_counts_from_what_there_is)
{
    assert_child(child_is_limited, NULL);
}
END_TEST

START_TEST(without_proc_it_does_as_well)
{
    char empty[] = "/tmp/soon-test-XXXXXX";

    REQUIRE(mkdtemp(empty));
    assert_child(child_is_limited_elsewhere, empty);
    REQUIRE(rmdir(empty) == 0);
}
END_TEST

void add_child_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "children");

    if (RUNNING_ON_VALGRIND) {
        fprintf(stderr, "process: children are skipped: valgrind knows no pidfd_open(2)\n");
        return;
    }
    tcase_add_test(tc, without_children_nobody_has_ended);
    tcase_add_test(tc, a_child_that_lives_has_not_ended);
    tcase_add_test(tc, an_end_is_told_until_it_is_buried);
    tcase_add_loop_test(tc, a_deadly_signal_is_told, 0, sizeof deadly / sizeof deadly[0]);
    tcase_add_test(tc, a_pidfd_becomes_readable_at_the_end);
    tcase_add_test(tc, a_pidfd_that_fails_is_reported);
    tcase_add_loop_test(tc, what_a_child_forked_goes_with_it, 0, 2);
    tcase_add_test(tc, kill_reaches_a_child_outside_its_group);
    tcase_add_test(tc, a_stopped_child_goes_on_or_dies);
    tcase_add_test(tc, a_settled_process_has_plain_signals);
    tcase_add_test(tc, a_process_whose_parent_is_gone_notices);
    tcase_add_test(tc, a_tied_process_goes_with_its_parent);
    tcase_add_test(tc, names_are_cut_to_what_the_kernel_keeps);
    tcase_add_test(tc, a_limit_of_memory_counts_from_what_there_is);
    if (geteuid() == 0)
        tcase_add_test(tc, without_proc_it_does_as_well);
    else
        fprintf(stderr, "process: who is not root cannot do without /proc: 1 test left out\n");
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("process");

    add_child_cases(suite);
    add_twin_cases(suite);
    add_shm_cases(suite);
    add_packet_cases(suite);
    return suite;
}
