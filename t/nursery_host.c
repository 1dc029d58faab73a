/* SPDX-License-Identifier: MIT */
/*
 * The program ends, and nothing of it is left.
 *
 * The program is a child of the test's here. It makes a nursery and workers,
 * one of them stopped, tells their pids, and ends in one way or another; the
 * test sees each process end through a pidfd that it has opened before. What
 * becomes an orphan is handed to the test, which reaps it.
 */
#include "nursery_cases.h"

#include "os/process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum way { WAY_KILLED, WAY_ABORTS, WAY_EXITS, WAY_EXECUTES, WAY_STOPPED_AND_KILLED, WAYS };

enum { WORKERS = 3 };

struct family {
    pid_t twin, nursery, worker[WORKERS];
};

struct host {
    int method;
    enum way way;
    bool opener_is_gone; /* the thread that made the nursery */
    int family_pipe[2];
    struct gate go;
    struct stage stage;
};

/* ---- in the program that is to end ---- */

static void open_in_thread(void *data)
{
    struct host *host = data;

    REQUIRE(stage_try_open(&host->stage, host->method) == 0);
}

static struct family found_family(struct host *host)
{
    struct puppet puppet[WORKERS];
    struct family family;
    struct thread opener;

    if (host->opener_is_gone) {
        thread_start(&opener, open_in_thread, host);
        thread_join(&opener);
    } else {
        open_in_thread(host);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        puppet[i] = puppet_new(&host->stage, i);
        family.worker[i] = puppet[i].pid;
    }
    family.twin = host->stage.nursery.twin;
    family.nursery = stage_nursery_pid(&puppet[0]);
    kill(family.worker[1], SIGSTOP);
    return family;
}

static _Noreturn void be_host(struct host *host)
{
    char name[] = "true", *argv[] = {name, NULL};
    struct family family = found_family(host);

    REQUIRE(write(host->family_pipe[1], &family, sizeof family) == sizeof family);
    gate_pass(host->go);
    switch (host->way) {
    case WAY_ABORTS:
        signal(SIGABRT, SIG_DFL);
        abort();
    case WAY_EXITS:
        _exit(0);
    case WAY_EXECUTES:
        execv("/bin/true", argv);
        abort();
    default:
        for (;;)
            pause();
    }
}

/* ---- in the test ---- */

static void reap_all(void)
{
    while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
        ;
    ck_assert_int_eq(errno, ECHILD);
}

static void end_it(const struct host *host, pid_t pid)
{
    if (host->way == WAY_STOPPED_AND_KILLED)
        kill(pid, SIGSTOP);
    if (host->way == WAY_KILLED || host->way == WAY_STOPPED_AND_KILLED)
        kill(pid, SIGKILL);
    gate_open(host->go);
}

static void run_host(struct host *host)
{
    struct family family;
    int ends[2 + WORKERS];

    REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    REQUIRE(pipe(host->family_pipe) == 0);
    host->go = gate_make();
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        be_host(host);
    REQUIRE(read(host->family_pipe[0], &family, sizeof family) == sizeof family);
    ends[0] = soon__process_open(family.twin);
    ends[1] = soon__process_open(family.nursery);
    for (int i = 0; i < WORKERS; i++)
        ends[2 + i] = soon__process_open(family.worker[i]);
    end_it(host, pid);
    for (int i = 0; i < 2 + WORKERS; i++) {
        assert_ends(ends[i]);
        close(ends[i]);
    }
    reap_all();
    close(host->family_pipe[0]);
    close(host->family_pipe[1]);
    gate_free(host->go);
}

START_TEST(everything_ends_with_the_program)
{
    run_host(&(struct host){.method = _i % METHODS, .way = (enum way)(_i / METHODS)});
}
END_TEST

/* The kernel's signal for the death of a parent is for that of the thread. */
START_TEST(who_opened_the_nursery_may_leave)
{
    run_host(&(struct host){
        .method = _i % METHODS, .way = (enum way)(_i / METHODS), .opener_is_gone = true});
}
END_TEST

void add_host_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "the program's end");

    tcase_add_checked_fixture(tc, count_before, count_after);
    tcase_add_loop_test(tc, everything_ends_with_the_program, 0, WAYS * METHODS);
    tcase_add_loop_test(tc, who_opened_the_nursery_may_leave, 0, WAYS * METHODS);
}
