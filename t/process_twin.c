/* SPDX-License-Identifier: MIT */
/*
 * Twins: what they share with the program, and what the program does not get
 * to see of them and of their children.
 */
#include "process_cases.h"

#include "os/event.h"
#include "os/inject.h"
#include "os/process.h"
#include "os/thread.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a thread that has a twin ---- */

struct twin {
    void (*run)(void *data);
    void *data;
    _Atomic pid_t pid;
    int result;
    pthread_t thread;
};

static void *make_twin(void *arg)
{
    struct twin *twin = arg;

    twin->result = soon__process_twin(twin->run, twin->data, &twin->pid);
    return NULL;
}

static void twin_start(struct twin *twin, void (*run)(void *data), void *data)
{
    twin->run = run;
    twin->data = data;
    twin->result = 4711;
    atomic_store(&twin->pid, 0);
    assert_ok(soon__thread_start(&twin->thread, soon__process_twin_stack(), make_twin, twin));
}

static int twin_join(struct twin *twin)
{
    REQUIRE(pthread_join(twin->thread, NULL) == 0);
    ck_assert_int_eq(twin->pid, 0);
    return twin->result;
}

static int in_twin(void (*run)(void *data), void *data)
{
    struct twin twin;

    twin_start(&twin, run, data);
    return twin_join(&twin);
}

/* ---- what is shared ---- */

struct meeting {
    struct bell here;
    struct gate go;
    _Atomic int steps;
    pid_t pid, parent, group, session;
    int fd;
};

static struct meeting meeting_make(void)
{
    return (struct meeting){.here = bell_make(), .go = gate_make()};
}

static void meeting_free(struct meeting *meeting)
{
    bell_free(meeting->here);
    gate_free(meeting->go);
}

static void meet(void *data)
{
    struct meeting *meeting = data;

    meeting->pid = getpid();
    meeting->parent = getppid();
    meeting->fd = soon__event_new();
    atomic_fetch_add(&meeting->steps, 1);
    bell_ring(meeting->here);
    gate_pass(meeting->go);
    atomic_fetch_add(&meeting->steps, 1);
}

START_TEST(a_twin_shares_memory_and_descriptors)
{
    struct meeting meeting = meeting_make();
    struct twin twin;

    twin_start(&twin, meet, &meeting);
    bell_await(meeting.here, 1);
    ck_assert_int_eq(meeting.pid, twin.pid);
    ck_assert_int_ne(meeting.pid, getpid());
    ck_assert_int_eq(meeting.parent, getpid());
    ck_assert_int_eq(fcntl(meeting.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(meeting.steps, 1);
    gate_open(meeting.go);
    assert_ok(twin_join(&twin));
    ck_assert_int_eq(meeting.steps, 2);
    close(meeting.fd);
    meeting_free(&meeting);
}
END_TEST

static void nothing(void *data)
{
    atomic_fetch_add((_Atomic unsigned *)data, 1);
}

START_TEST(many_twins_leave_nothing)
{
    _Atomic unsigned count = 0;

    assert_ok(in_twin(nothing, (void *)&count)); /* a sanitizer starts a thread of its own then */
    unsigned fds = descriptor_count(), threads = thread_count();
    for (size_t i = 1; i < scaled(300); i++)
        assert_ok(in_twin(nothing, (void *)&count));
    ck_assert_uint_eq(count, scaled(300));
    ck_assert_uint_eq(descriptor_count(), fds);
    await_thread_count(threads);
    ck_assert(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
}
END_TEST

static void sleep_for_ever(void *data)
{
    bell_ring(*(struct bell *)data);
    for (;;)
        pause();
}

START_TEST(a_twin_may_be_killed)
{
    struct bell here = bell_make();
    struct twin twin;

    twin_start(&twin, sleep_for_ever, &here);
    bell_await(here, 1);
    kill(twin.pid, SIGKILL);
    assert_ok(twin_join(&twin));
    bell_free(here);
}
END_TEST

/* libc has every thread change its ids, the sleeping one too, by a signal that
 * is never blocked and whose handler runs on the stack of the thread. */
START_TEST(the_sleeping_thread_still_answers_to_libc)
{
    struct meeting meeting = meeting_make();
    struct twin twin;

    twin_start(&twin, meet, &meeting);
    bell_await(meeting.here, 1);
    for (int i = 0; i < 100; i++)
        assert_ok(setuid(getuid()));
    gate_open(meeting.go);
    assert_ok(twin_join(&twin));
    ck_assert_int_eq(meeting.steps, 2);
    close(meeting.fd);
    meeting_free(&meeting);
}
END_TEST

/* A child like a twin, dead and not reaped: what a program finds that was
 * executed by one that had a pool. */
static pid_t leave_over(const char *name)
{
    pid_t pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
    siginfo_t info;

    REQUIRE(pid >= 0);
    if (pid == 0) {
        soon__process_title(name);
        _exit(0);
    }
    REQUIRE(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | __WCLONE) == 0);
    return pid;
}

START_TEST(twins_that_are_left_over_are_reaped)
{
    static const char *const ours[] = {"soon-twin", "soon-nursery"};
    _Atomic unsigned count = 0;
    siginfo_t info;

    for (int i = 0; i < 2; i++)
        leave_over(ours[i]);
    assert_ok(in_twin(nothing, (void *)&count));
    ck_assert_int_eq(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WCLONE), -1);
    ck_assert_int_eq(errno, ECHILD);
    pid_t other = leave_over("soon-after");
    assert_ok(in_twin(nothing, (void *)&count));
    ck_assert_int_eq(waitpid(other, NULL, __WCLONE), other);
}
END_TEST

START_TEST(a_twin_that_cannot_be_made_is_reported)
{
    _Atomic unsigned count = 0;

    soon__inject_after(SOON__INJECT_FORK, 1);
    ck_assert_int_eq(in_twin(nothing, (void *)&count), -EAGAIN);
    ck_assert_uint_eq(count, 0);
}
END_TEST

START_TEST(the_stack_is_large_enough_whatever_the_default)
{
    pthread_attr_t attr;
    _Atomic unsigned count = 0;

    pthread_attr_init(&attr);
    REQUIRE(pthread_attr_setstacksize(&attr, 64 << 10) == 0);
    REQUIRE(pthread_setattr_default_np(&attr) == 0);
    ck_assert_uint_ge(soon__process_twin_stack(), 1 << 20);
    assert_ok(in_twin(nothing, (void *)&count));
    REQUIRE(pthread_attr_setstacksize(&attr, 16 << 20) == 0);
    REQUIRE(pthread_setattr_default_np(&attr) == 0);
    ck_assert_uint_eq(soon__process_twin_stack(), 16 << 20);
    pthread_attr_destroy(&attr);
}
END_TEST

/* ---- what the program does not see ---- */

static _Atomic int sigchlds;

static void on_sigchld(int signal_number)
{
    (void)signal_number;
    sigchlds++;
}

/* How a program may stand to its children. */
static void stand(int how)
{
    static const struct sigaction actions[] = {
        {.sa_handler = on_sigchld},
        {.sa_handler = SIG_IGN},
        {.sa_handler = on_sigchld, .sa_flags = SA_NOCLDWAIT},
        {.sa_handler = SIG_DFL},
    };

    sigchlds = 0;
    REQUIRE(sigaction(SIGCHLD, &actions[how], NULL) == 0);
}

enum { STANDS = 4 };

static int child_exit(void *data)
{
    return *(int *)data;
}

struct brood {
    struct bell here;
    struct gate go;
    struct soon__exit how[3];
    int n;
};

/* A twin with children that end, and are waited for as signals tell. */
static void have_children(void *data)
{
    struct brood *brood = data;
    struct soon__exit how;
    int bell = soon__process_bell();
    pid_t pid = 0;

    soon__process_hear();
    for (int code = 0; code < 3; code++)
        child_start(child_exit, &code);
    bell_ring(brood->here);
    gate_pass(brood->go);
    while ((pid = soon__process_ended(&how)) >= 0)
        if (pid == 0) {
            soon__process_await(bell, STDERR_FILENO, false, -1);
        } else {
            soon__process_bury(pid);
            brood->how[brood->n++] = how;
        }
    close(bell);
}

START_TEST(the_program_sees_no_child_and_no_signal)
{
    struct brood brood = {.here = bell_make(), .go = gate_make()};
    struct sigaction after;
    struct twin twin;
    int codes = 0;

    stand(_i);
    twin_start(&twin, have_children, &brood);
    bell_await(brood.here, 1);
    ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
    gate_open(brood.go);
    assert_ok(twin_join(&twin));
    ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
    ck_assert_int_eq(sigchlds, 0);

    /* However the program stands to its own, the twin has seen all of them. */
    ck_assert_int_eq(brood.n, 3);
    for (int i = 0; i < brood.n; i++) {
        ck_assert_int_eq(brood.how[i].signal, 0);
        codes |= 1 << brood.how[i].code;
    }
    ck_assert_int_eq(codes, 7);
    REQUIRE(sigaction(SIGCHLD, NULL, &after) == 0);
    ck_assert(after.sa_handler == (_i == 1 ? SIG_IGN : _i == 3 ? SIG_DFL : on_sigchld));
    bell_free(brood.here);
    gate_free(brood.go);
}
END_TEST

/* ---- fork() among threads ---- */

static _Atomic bool hammering;

static void hammer(void *data)
{
    FILE *file = data;

    while (hammering) {
        for (size_t size = 1; size < 100000; size *= 3) {
            char *memory = malloc(size);
            REQUIRE(memory);
            memory[0] = 1;
            fprintf(file, "%zu\n", size);
            free(memory);
        }
        fflush(file);
    }
}

static int child_uses_libc(void *data)
{
    for (size_t size = 1; size < 100000; size *= 7) {
        char *memory = malloc(size);
        if (!memory)
            return 1;
        memory[size - 1] = 1;
        free(memory);
    }
    return fprintf(data, "child\n") == 6 && fflush(data) == 0 ? 0 : 2;
}

static void fork_many(void *data)
{
    struct soon__exit how;
    int bell = soon__process_bell();

    soon__process_hear();
    for (size_t i = 0; i < scaled(200); i++) {
        pid_t pid = soon__process_fork();
        REQUIRE(pid >= 0);
        if (pid == 0)
            _exit(child_uses_libc(data));
        while (soon__process_ended(&how) == 0)
            soon__process_await(bell, STDERR_FILENO, false, -1);
        soon__process_bury(pid);
        REQUIRE(how.signal == 0 && how.code == 0);
    }
    close(bell);
}

START_TEST(fork_in_a_twin_minds_the_locks_of_all_threads)
{
    FILE *file = fopen("/dev/null", "we");
    struct thread thread[3];

    REQUIRE(file);
    hammering = true;
    for (int i = 0; i < 3; i++)
        thread_start(&thread[i], hammer, file);
    assert_ok(in_twin(fork_many, file));
    hammering = false;
    for (int i = 0; i < 3; i++)
        thread_join(&thread[i]);
    fclose(file);
}
END_TEST

/* ---- executing a program ---- */

struct command {
    const char *path;
    const char *script;
    int keep;
    pid_t result;
    struct bell here; /* rings once result is there */
    struct gate go;
    struct soon__exit how;
    void (*prepare)(void *command);
    pid_t prepared; /* where */
};

static void run_script(void *data)
{
    struct command *command = data;
    char name[] = "sh", option[] = "-c", path[] = "PATH=/usr/bin:/bin", variable[32];
    char *argv[] = {name, option, (char *)(uintptr_t)command->script, NULL};
    char *envp[] = {path, variable, NULL};

    soon__process_hear();
    snprintf(variable, sizeof variable, "OUT=%d", command->keep);
    const struct soon__program program = {.path = command->path,
                                          .argv = argv,
                                          .envp = envp,
                                          .keep = &command->keep,
                                          .n_keep = 1,
                                          .prepare = command->prepare,
                                          .arg = command};
    command->result = soon__process_spawn(&program);
    bell_ring(command->here);
    gate_pass(command->go);
    if (command->result > 0)
        while (soon__process_ended(&command->how) == 0)
            sleep_ns(SOON_MS(1));
    if (command->result > 0)
        soon__process_bury(command->result);
}

static void note_pid(void *data)
{
    ((struct command *)data)->prepared = getpid();
}

static void run_command(struct command *command)
{
    command->here = bell_make();
    command->go = gate_make();
    gate_open(command->go);
    assert_ok(in_twin(run_script, command));
    bell_free(command->here);
    gate_free(command->go);
}

START_TEST(a_program_gets_what_it_is_to_keep)
{
    char said[64] = "";
    int kept[2], other[2];
    struct command command = {.path = "/bin/sh", .prepare = note_pid};
    char script[200];

    REQUIRE(pipe2(kept, O_CLOEXEC) == 0 && pipe2(other, O_CLOEXEC) == 0);
    snprintf(script, sizeof script,
             "echo $PPID >&$OUT; if test -e /proc/self/fd/%d; then exit 1; fi; exit 5", other[1]);
    command.script = script;
    command.keep = kept[1];
    run_command(&command);
    ck_assert_int_gt(command.result, 0);
    ck_assert_int_eq(command.prepared, command.result);
    ck_assert_int_eq(command.how.signal, 0);
    ck_assert_int_eq(command.how.code, 5);
    ck_assert_int_gt(read(kept[0], said, sizeof said - 1), 0);
    ck_assert_int_ne(atoi(said), getpid());
    ck_assert_int_eq(fcntl(kept[1], F_GETFD), FD_CLOEXEC); /* here it stays so */
    ck_assert(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
    close_pair(kept);
    close_pair(other);
}
END_TEST

START_TEST(what_cannot_be_executed_is_reported)
{
    static const struct {
        const char *path;
        int keep, error;
    } cases[] = {{"/nonexistent/program", 0, -ENOENT}, {"/", 0, -EACCES}, {"/bin/sh", -1, -EBADF}};
    struct command command = {.path = cases[_i].path, .keep = cases[_i].keep, .script = "exit 0"};

    run_command(&command);
    ck_assert_int_eq(command.result, cases[_i].error);
    soon__inject_after(SOON__INJECT_FORK, 2); /* the twin is the first */
    run_command(&command);
    ck_assert_int_eq(command.result, -EAGAIN);
}
END_TEST

/* The tie outlasts execve(2), and the group is its own. */
START_TEST(a_program_goes_with_the_twin)
{
    struct command command = {.path = "/bin/sh",
                              .script = "echo >&$OUT; while :; do sleep 1; done",
                              .here = bell_make(),
                              .go = gate_make()};
    struct pollfd poll_fd = {.events = POLLIN};
    struct twin twin;
    int fds[2];
    char byte;

    REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    command.keep = fds[1];
    twin_start(&twin, run_script, &command);
    bell_await(command.here, 1);
    REQUIRE(read(fds[0], &byte, 1) == 1);
    poll_fd.fd = soon__process_open(command.result);
    ck_assert_int_ge(poll_fd.fd, 0);
    ck_assert_int_eq(getpgid(command.result), command.result);
    kill(twin.pid, SIGKILL);
    assert_ok(twin_join(&twin));
    ck_assert_int_eq(poll(&poll_fd, 1, 10000), 1);
    kill(-command.result, SIGKILL); /* what the shell was running */
    close(poll_fd.fd);
    close_pair(fds);
    bell_free(command.here);
    gate_free(command.go);
}
END_TEST

void add_twin_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "twins");

    if (RUNNING_ON_VALGRIND) {
        fprintf(stderr, "process: twins are skipped: valgrind knows no process that shares "
                        "memory with another\n");
        return;
    }
    tcase_add_test(tc, a_twin_shares_memory_and_descriptors);
    tcase_add_test(tc, many_twins_leave_nothing);
    tcase_add_test(tc, a_twin_may_be_killed);
    tcase_add_test(tc, the_sleeping_thread_still_answers_to_libc);
    tcase_add_test(tc, twins_that_are_left_over_are_reaped);
    tcase_add_test(tc, a_twin_that_cannot_be_made_is_reported);
    tcase_add_test(tc, the_stack_is_large_enough_whatever_the_default);
    tcase_add_loop_test(tc, the_program_sees_no_child_and_no_signal, 0, STANDS);
    tcase_add_test(tc, fork_in_a_twin_minds_the_locks_of_all_threads);
    tcase_add_test(tc, a_program_gets_what_it_is_to_keep);
    tcase_add_loop_test(tc, what_cannot_be_executed_is_reported, 0, 3);
    tcase_add_test(tc, a_program_goes_with_the_twin);
}
