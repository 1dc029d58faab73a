/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the process pool share: pools of each start method, tasks
 * that end their worker, and a board where tasks leave word for their test.
 */
#ifndef SOON_T_PROCESS_POOL_H
#define SOON_T_PROCESS_POOL_H

#include "leftovers.h"
#include "support.h"

#include <signal.h>

/* Runs test once for each start method; _i is it. */
void add_over_methods(TCase *tc, const TTest *test);

/* The same for a test whose tasks start threads: with SPAWN alone where threads
 * of forked workers cannot be followed. */
void add_over_methods_with_threads(TCase *tc, const TTest *test);

/* The same for tests that have workers replaced while other threads of the program
 * allocate: a worker that is forked then finds the lock of the thread sanitizer's
 * own allocator held for ever. */
void add_over_methods_in_a_busy_program(TCase *tc, const TTest *test);
bool tasks_may_start_threads(int method, const char *what);

/* A pool of that start method, with options (NULL: the defaults) for the rest. */
soon_executor *pool_up(int method, const soon_process_pool_options *options);

/* With one worker, everything else default. */
soon_executor *one_worker(int method);

/* Shuts down, waits, and drops the last reference: no worker is left when the
 * wait is over, the figures say so, and their sum is right. */
void pool_down(soon_executor *ex, uint64_t submitted);

soon_stats pool_figures(soon_executor *ex);

struct pool;

/* Takes the lock of who collects while the monitor sleeps: from here on it does
 * nothing, until pool->collecting is released. */
void stop_monitor(struct pool *pool);

/* A task with a name and a timeout (0: none). */
soon_future *submit_named(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len,
                          const char *name, soon_ns timeout);

/* Is it called NAME-NUMBER? */
bool is_worker_of(const struct process *process, const char *name);

/* Living workers of pools called name, of which at most max are written. */
size_t workers_of(const char *name, struct process *out, size_t max);

/* Returns when the pool has so many workers and knows of all that they are born:
 * nothing is to come of that, nor of the ends of others. */
void pool_await_workers(soon_executor *ex, unsigned workers);

/* Waits until the process is gone, but not for ever. */
void await_gone(pid_t pid);

/* ---- the board: in shared_page() ---- */

struct board {
    shared_count count[16];
    _Atomic pid_t pid[16];
};

struct board *board(void);

/* ---- tasks ---- */

/* Gives its process's pid. */
int task_pid(soon_call *call, const void *arg, size_t arg_len);
void assert_pid(soon_future *f, pid_t expected);
pid_t pid_of(soon_future *f);

/* Adds one to count[index] of the board; the argument is the index, an int. */
int task_tick(soon_call *call, const void *arg, size_t arg_len);

/* Writes its pid to pid[0] of the board, then is task_hold(). */
int task_perch(soon_call *call, const void *arg, size_t arg_len);

/* Holds one worker: its pid, and in *f the future if f is not NULL. */
pid_t perch(soon_executor *ex, const struct hold *hold, soon_future **f);

/* Ends its process; the argument is a way of doing it. */
enum death {
    DIE_SEGV,
    DIE_ABORT,
    DIE_EXIT,    /* exit(3) */
    DIE__EXIT,   /* _exit(4) */
    DIE_QUIETLY, /* _exit(0) */
    DIE_KILL,
    DIE_FPE,
    DIE_STACK, /* runs out of stack */
    DEATHS,
};
int task_die(soon_call *call, const void *arg, size_t arg_len);
soon_future *submit_death(soon_executor *ex, enum death how);

/* The signal of a death, or 0; its exit code, or 0; its name in messages. */
int death_signal(enum death how);
int death_code(enum death how);
const char *death_name(enum death how);

/* Sleeps until the end of its process. */
int task_for_ever(soon_call *call, const void *arg, size_t arg_len);

/* ---- assertions ---- */

/* The future ended with its worker: -EOWNERDEAD, SOON_FROM_WORKER, of that
 * signal or exit code, and its message has each of the words (up to NULL). */
void assert_owner_dead(soon_future *f, int signal, int exit_code, const char *const words[]);

/* The future ended with this code of the library's, in any words. */
void assert_library_error(soon_future *f, int code);

/* A task of the pool gives what it should. */
void assert_works(soon_executor *ex);

/* The pool takes no work any more, and soon_last_error() has the words. */
void assert_broken(soon_executor *ex, const char *words);

#endif /* SOON_T_PROCESS_POOL_H */
