/* SPDX-License-Identifier: MIT */
/*
 * Processes: how they come to be, how they end, how they are told to.
 *
 * A twin is a process that shares this one's memory, descriptors and
 * directories, but is none of its threads: what it forks are its children and
 * not ours, so that no SIGCHLD and no waitpid() of the program ever sees them.
 * It runs on the stack and with the thread-local storage of the thread that
 * made it, which sleeps meanwhile. So fork() in a twin is libc's own, with all
 * its care for locks that other threads hold. A twin has no SIGCHLD as its exit
 * signal either. Its signal handlers are a copy, and its own to change.
 *
 * Who kills a twin kills something like a thread of the program: a lock that
 * it held, as in the middle of fork(), stays held. Hence a twin calls nothing
 * that takes locks, except fork().
 */
#ifndef SOON_OS_PROCESS_H
#define SOON_OS_PROCESS_H

#include <signal.h>
#include <soon/base.h>
#include <sys/types.h>

/* Runs run(arg) in a twin and returns when that has ended: 0, or a negative
 * errno if there is none. *pid is the twin's from before run() begins until it
 * has ended, and then 0. The twin is killed when the calling thread ends.
 *
 * The calling thread must not be the program's first, must have every signal
 * blocked, and a stack of soon__process_twin_stack(): what it doesn't use of
 * that is the twin's. */
int soon__process_twin(void (*run)(void *arg), void *arg, _Atomic pid_t *pid);

/* Bytes, for soon__thread_start(): the system's default, unless that is too
 * small. */
size_t soon__process_twin_stack(void);

/* fork(), in a twin or in a process of one thread: 0 in the child, its pid, or
 * a negative errno. */
pid_t soon__process_fork(void);

/* A program to be executed. */
struct soon__program {
    const char *path;
    char *const *argv, *const *envp;
    const int *keep; /* descriptors that it is to have although they are close-on-exec */
    unsigned n_keep;
    void (*prepare)(void *arg); /* or NULL: run in the new process, in memory that it shares, before
                                   it executes the program; calls nothing that takes a lock */
    void *arg;
};

/* A child that executes a program, tied to us and with a process group of its
 * own. It inherits a mask that blocks every signal, which the calling thread
 * must have. Its pid, or a negative errno, also that of execve(2). */
pid_t soon__process_spawn(const struct soon__program *program);

/* In a new process that is to work: ties it to its parent, and gives it a
 * process group of its own and plain signals. Those that the program handles
 * get their default action, as does SIGCHLD, ignored ones stay ignored, SIGINT
 * is ignored, and none is blocked. False: see soon__process_dies_with(). */
bool soon__process_settle(pid_t parent);

/* What a child does about its process group, in case its parent comes first. */
void soon__process_own_group(pid_t child);

/* Has the calling process killed as soon as the thread of its parent that made
 * it is gone. False: it cannot be, or parent, which it had when it was made, is
 * gone already. */
bool soon__process_dies_with(pid_t parent);

/* The same, but it is not killed: bells (below) ring in it, and it goes on if it
 * was stopped. */
bool soon__process_hears_of(pid_t parent);

/* Blocks every signal in the calling thread; what was blocked before. */
void soon__signals_block(sigset_t *before);
void soon__signals_restore(const sigset_t *before);

/* A descriptor for a process, close-on-exec, readable once that has ended.
 * The descriptor, or a negative errno. For children not yet waited for. */
int soon__process_open(pid_t pid);

/* Has the program more rights than who started it (set-user-ID and the like)? */
bool soon__process_is_privileged(void);

/* What is true in the calling process, and false in every copy that fork() or
 * any of its kin makes of it. NULL: it can't be had. Never given back. */
const volatile bool *soon__process_mark(void);

/* Sends a signal: 0, -ESRCH if it has ended, or another negative errno. */
int soon__process_signal(int pidfd, int signal);

/* The same to a child that is not reaped yet, and with SIGKILL to all of its
 * process group. 0 also if it has ended; -EPERM: the system does not allow it. */
int soon__process_signal_child(pid_t pid, int signal);

/* Who may signal the calling process, as far as that is up to its user: what
 * the kernel holds against the sender's (kill(2)). */
struct soon__owner {
    uid_t real, saved;
};
struct soon__owner soon__process_owner(void);

/* How a process ended: a signal, or an exit code. */
struct soon__exit {
    int signal; /* or 0 */
    int code;   /* if signal is 0 */
};

/* A descriptor, close-on-exec, that is readable in a process which has called
 * soon__process_hear() when a child of it has ended, and when it has been told
 * to go on (SIGCONT). Or a negative errno. */
int soon__process_bell(void);

/* Has the calling process, whose signals are blocked, hear of its children. */
void soon__process_hear(void);

/* Sleeps until bell rings, or fd, if input is asked for, is readable. False: the
 * other side of fd is gone.
 * life: a process (see soon__process_open()), or -1; once that has ended:
 * false. */
bool soon__process_await(int bell, int fd, bool input, int life);

/* Sleeps until fd has room to write, a tenth of a second at most. False: as
 * above. */
bool soon__process_await_room(int fd, int life);

/* A child of the calling process that has ended and is not reaped yet, 0 if
 * there is none, -ECHILD without children. Doesn't block. */
pid_t soon__process_ended(struct soon__exit *how);

/* Has a process go on that somebody may have stopped. */
void soon__process_continue(pid_t pid);

/* Kills a child that is not reaped yet, and all of its process group. False:
 * the system does not allow it. */
bool soon__process_kill(pid_t pid);

/* Waits for a child's end, kills what is left of its process group, and reaps
 * the child. */
void soon__process_bury(pid_t pid);

/* The name in ps(1), cut to 15 bytes, of the calling thread. */
void soon__process_title(const char *title);

/* The same: BASE-NUMBER, cut in BASE. */
void soon__process_name(const char *base, unsigned number);

/* Lets the calling process take at most more bytes of address space than it
 * has now. 0, or a negative errno. */
int soon__process_limit_memory(size_t more);

#endif
