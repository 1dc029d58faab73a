/* SPDX-License-Identifier: MIT */
/*
 * Processes that share memory with their parent: the twin, and a child on its
 * way to execute a program. Both run on stack that their parent's thread has
 * but does not use, far enough below what it uses itself:
 *
 *     | thread ... | GAP | twin ... | GAP | child ... |   stack's end
 *
 * The gaps are for what the sleeping thread still does: the call it sleeps in,
 * and libc's own signal handlers, which cannot be blocked. Since this is the
 * stack of a thread that they know, the sanitizers have no objection.
 *
 * errno and all other thread-local storage is the thread's too. It looks at
 * none of it until the process that it has made is gone.
 */
#include "os/clock.h"
#include "os/futex.h"
#include "os/inject.h"
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ThreadSanitizer takes clone() for fork(), whose child has memory of its own,
 * and resets in the child what it knows of threads. libc's other name for it
 * is left alone. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)
int __clone(int (*run)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

enum {
    GAP = 64 << 10,
    LEAST_STACK = 1 << 20,
};

size_t soon__process_twin_stack(void)
{
    pthread_attr_t attr;
    size_t size = 0;

    if (pthread_getattr_default_np(&attr) == 0) {
        pthread_attr_getstacksize(&attr, &size);
        pthread_attr_destroy(&attr);
    }
    return size < LEAST_STACK ? LEAST_STACK : size;
}

/* Where the stack of a process may begin that the caller is about to make. */
static __attribute__((noinline)) void *stack_below(void)
{
    return (void *)(((uintptr_t)__builtin_frame_address(0) - GAP) & ~(uintptr_t)63);
}

/* ---- the twin ---- */

struct twin {
    void (*run)(void *arg);
    void *arg;
    pid_t parent;
};

static int live(void *arg)
{
    const struct twin *twin = arg;

    if (soon__process_dies_with(twin->parent))
        twin->run(twin->arg);
    return 0;
}

/* No wait of the program's sees it, unless that asks for __WALL or __WCLONE and
 * so has reaped it already. The number may then be somebody else's, but a child
 * of the usual kind is none that this one sees. */
static void reap(pid_t pid)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)pid, &info, WEXITED | __WCLONE) < 0 && errno == EINTR)
        ;
}

static bool is_a_twin(pid_t pid)
{
    char path[32], name[16] = "";

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, name, sizeof name - 1);
    close(fd);
    return len > 0 && (strcmp(name, "soon-twin\n") == 0 || strcmp(name, "soon-nursery\n") == 0);
}

/* A program that executes itself anew leaves its dead twins to what it becomes,
 * where nobody knows of them. Those of other pools, which may be about to be
 * reaped, it does no harm to reap here. */
static void reap_those_left_over(void)
{
    siginfo_t info = {.si_pid = 0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WCLONE) == 0 && info.si_pid &&
           is_a_twin(info.si_pid)) {
        reap(info.si_pid);
        info.si_pid = 0;
    }
}

int soon__process_twin(void (*run)(void *arg), void *arg, _Atomic pid_t *pid)
{
    struct twin twin = {.run = run, .arg = arg, .parent = getpid()};
    soon__futex lives = 1; /* the kernel clears it when the twin lets go of the memory */
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

    if (soon__inject(SOON__INJECT_FORK))
        return -EAGAIN;
    reap_those_left_over();
    pid_t made = clone(live, stack_below(), flags, &twin, pid, NULL, &lives);
    if (made < 0)
        return -errno;
    while (atomic_load(&lives))
        soon__futex_wait_shared(&lives, 1, SOON__NEVER);
    reap(made);
    atomic_store(pid, 0);
    return 0;
}

/* ---- a child on its way to execute a program ---- */

struct execution {
    const struct soon__program *program;
    pid_t parent;
    int error; /* why it does not run; nobody writes it who goes on */
};

/* Its descriptors and signals are its own; what it writes to memory the parent
 * finds there. */
static int execute(void *arg)
{
    struct execution *execution = arg;
    const struct soon__program *program = execution->program;

    if (!soon__process_dies_with(execution->parent))
        return 0;
    soon__process_own_group(0);
    for (unsigned i = 0; i < program->n_keep; i++)
        if (fcntl(program->keep[i], F_SETFD, 0) < 0) {
            execution->error = -errno;
            return 0;
        }
    if (program->prepare)
        program->prepare(program->arg);
    execve(program->path, program->argv, program->envp);
    execution->error = -errno;
    return 0;
}

pid_t soon__process_spawn(const struct soon__program *program)
{
    struct execution execution = {.program = program, .parent = getpid()};
    siginfo_t info;

    if (soon__inject(SOON__INJECT_FORK))
        return -EAGAIN;
    /* CLONE_VFORK: returns when it has executed the program, or ended. */
    pid_t pid = clone(execute, stack_below(), CLONE_VM | CLONE_VFORK | SIGCHLD, &execution);
    if (pid < 0)
        return -errno;
    if (execution.error == 0)
        return pid;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
        ;
    return execution.error;
}
