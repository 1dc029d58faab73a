/* SPDX-License-Identifier: MIT */
/*
 * Executors: where tasks go, and the backends that come with the library.
 *
 *     soon_executor *pool;
 *     soon_future *f;
 *     soon_thread_pool_new(NULL, &pool);
 *     soon_submit(pool, square, &(int){ 7 }, sizeof(int), &f);
 *     soon_future_result(f, SOON_FOREVER, &n, sizeof n);
 */
#ifndef SOON_EXECUTOR_H
#define SOON_EXECUTOR_H

#include <soon/base.h>
#include <soon/call.h>
#include <soon/stats.h>

SOON_BEGIN_DECLS

typedef struct soon_executor soon_executor;
typedef struct soon_future soon_future;

enum soon_priority { SOON_PRIORITY_LOW = -1, SOON_PRIORITY_NORMAL = 0, SOON_PRIORITY_HIGH = 1 };

/* What a submit does when max_pending tasks are pending. */
enum soon_overflow {
    SOON_BLOCK = 0,   /* wait for room */
    SOON_REJECT,      /* -EAGAIN */
    SOON_CALLER_RUNS, /* run the task in the submitting thread */
};

/* Flags of soon_shutdown(). */
enum { SOON_CANCEL_FUTURES = 1 };

/* What to run. Only fn is needed: `&(soon_task){ .fn = f }`. */
typedef struct soon_task {
    soon_fn *fn;
    const void *arg; /* arg_len bytes, copied before submit returns; NULL if arg_len is 0 */
    size_t arg_len;
    const char *name; /* label in traces, stats and errors, or NULL; copied */
    int priority;     /* enum soon_priority */
    soon_ns timeout;  /* running time allowed, counted from when it starts; 0: none */
    unsigned flags;   /* none yet: 0 */
    uint64_t reserved[4];
} soon_task;

/* Submits one task. Higher priority goes first; within one priority the
 * tasks of one submitter start in the order submitted; LOW ones age, so that
 * they always run.
 *
 *   arg, arg_len  the argument's bytes, copied before return (to pass a
 *                 pointer to a task in this process, pass &p, sizeof p)
 *   out           receives a reference the caller owns; NULL: detached
 *
 * What the caller wrote before happens-before the function runs. Blocks only
 * on a full queue under SOON_BLOCK, and while a process pool starts its first
 * worker; runs tasks only under SOON_CALLER_RUNS or on an inline executor. From a task of the same
 * pool a submit that blocks on a full queue counts as a wait: the pool starts a spare worker if it
 * would stall.
 *
 * 0; -EINVAL; -ENOMEM; -ESHUTDOWN after shutdown began, also for a submit
 * that was blocked; -EAGAIN: queue full under SOON_REJECT, or no worker can
 * be started; -ENOTRECOVERABLE: broken pool, or an executor made before a
 * fork; -ENOENT: a function that the workers cannot find. soon_last_error()
 * says more of the last two. On failure *out is untouched and nothing was submitted. */
SOON_API int soon_submit(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len,
                         soon_future **out);

/* The same with every option. -EINVAL also for an unknown priority, a
 * negative timeout or unknown flags. With a timeout the first such task of an
 * executor starts a timer thread; -EAGAIN if that fails. */
SOON_API int soon_submit_task(soon_executor *ex, const soon_task *task, soon_future **out);

/* Submits tasks[0..n) at the cost of one queue operation, all or nothing.
 * out: room for n references, or NULL. n of 0 does nothing and returns 0.
 * More than max_pending tasks at once: -EINVAL under SOON_BLOCK, -EAGAIN
 * under SOON_REJECT; under SOON_CALLER_RUNS the caller runs the surplus. */
SOON_API int soon_submit_many(soon_executor *ex, const soon_task *tasks, size_t n,
                              soon_future **out);

/* Begins the end: submits get -ESHUTDOWN from here on, submits blocked on a
 * full queue too, and queued work still runs. Idempotent; a later call may
 * add SOON_CANCEL_FUTURES or a wait.
 *
 *   wait   0: return at once; SOON_FOREVER: return when every task is done
 *          and every worker, its finalizer run, is gone; else a bounded wait
 *   flags  SOON_CANCEL_FUTURES: pending futures are cancelled before this
 *          returns, whatever wait is
 *
 * 0, also for a broken pool and at once in a forked child; -ETIMEDOUT: it
 * has begun and goes on; -EDEADLK: a wait from one of the executor's own
 * tasks or workers, nothing was changed; -EINVAL. */
SOON_API int soon_shutdown(soon_executor *ex, soon_ns wait, unsigned flags);

/* Another reference to ex, which is returned. */
SOON_API soon_executor *soon_executor_ref(soon_executor *ex);

/* Drops one. The last one without a shutdown behaves as
 * soon_shutdown(ex, 0, 0): queued work still runs, then everything is
 * released. Does not wait for tasks; a loop's are run or cancelled right here,
 * see soon_loop_new(). Futures outlive their executor. NULL is nothing. */
SOON_API void soon_executor_unref(soon_executor *ex);

/* A snapshot of the executor's figures, cheap enough to take every 100 ms
 * under full load. 0; -EINVAL; -ENOTRECOVERABLE in a forked child. */
SOON_API int soon_executor_stats(soon_executor *ex, soon_stats *out);

/* The backend's name: "thread_pool", "process_pool", "inline", "loop". Static. NULL if ex is. */
SOON_API const char *soon_executor_backend(const soon_executor *ex);

/* ---- the thread pool ---- */

typedef struct soon_thread_pool_options {
    unsigned max_workers; /* 0: SOON_MAX_WORKERS from the environment, else the CPUs this
                             process may use: affinity, and cgroup v1/v2 quota over every
                             ancestor (rounded up); at most 65536 */
    unsigned min_workers; /* kept alive when idle; at most max_workers */
    soon_ns idle_timeout; /* workers above min_workers leave after this; 0: 60 s */
    size_t max_pending;   /* 0: unbounded */
    int overflow;         /* enum soon_overflow */
    const char *name;  /* threads are called NAME-0, NAME-1, ... (15 bytes); NULL: "soon"; copied */
    size_t stack_size; /* bytes; 0: the system's default */
    soon_fn *initializer; /* run first in each worker; non-zero breaks the pool */
    soon_fn *finalizer;   /* run last in each worker whose initializer succeeded */
    const void *init_arg; /* init_arg_len bytes for both of them, copied */
    size_t init_arg_len;
    uint64_t reserved[8];
} soon_thread_pool_options;

/* A pool of threads. Workers start when work asks for them, an idle one is
 * used before a new one is started, and an idle pool uses no CPU.
 *
 * A worker that waits for a pending future of its own pool runs that task
 * itself, in place. One that must sleep is made up for by a spare worker when
 * otherwise every worker of the pool would be asleep in a wait.
 *
 * 0; -EINVAL; -ENOMEM. -EINVAL also for a SOON_MAX_WORKERS that is not a
 * number from 1 to 65536. */
SOON_API int soon_thread_pool_new(const soon_thread_pool_options *options, soon_executor **out);

/* ---- the process pool ---- */

/* How worker processes come to be; soon_process_pool(3) says when to use
 * which. */
enum soon_start_method {
    SOON_START_FORKSERVER = 0, /* forked from a copy of the program, made inside
                                  soon_process_pool_new(): workers see the memory of that moment */
    SOON_START_FORK,           /* forked from the program as it is when the worker starts */
    SOON_START_SPAWN,          /* the program executed anew; needs soon_init() */
};

/* soon_process_pool_options.flags */
enum {
    SOON_BREAK_ON_DEATH = 1, /* one worker that dies breaks the pool, as in CPython */
};

typedef struct soon_process_pool_options {
    unsigned max_workers;         /* as in soon_thread_pool_options */
    int start_method;             /* enum soon_start_method */
    unsigned max_tasks_per_child; /* tasks after which a worker is replaced; 0: no limit */
    size_t max_pending;           /* 0: unbounded; tasks handed ahead to a worker count too */
    int overflow;                 /* enum soon_overflow */
    const char
        *name; /* processes are called NAME-0, NAME-1, ... (15 bytes); NULL: "soon"; copied */
    soon_fn *initializer; /* run first in each worker; non-zero breaks the pool */
    soon_fn *finalizer;   /* run last in each worker that ends in good order */
    const void *init_arg; /* init_arg_len bytes for both of them, copied */
    size_t init_arg_len;
    soon_ns kill_grace;     /* from SIGTERM to SIGKILL for a worker past a timeout; 0: 3 s */
    unsigned max_restarts;  /* deaths of workers (not timeouts, kills, replacements) allowed
                               (above 65536: any number) ... */
    soon_ns restart_window; /* ... within this long; one more breaks the pool. Both 0: 60 in 60 s */
    size_t max_worker_memory; /* bytes of address space that a worker may take beyond those it
                                 starts with; then allocations fail in it. 0: no limit */
    unsigned flags;           /* SOON_BREAK_ON_DEATH */
    uint64_t reserved[8];
} soon_process_pool_options;

/* A pool of worker processes. A task may crash, leak or hang there: it fails
 * alone, with -EOWNERDEAD or -ETIME, and its worker is replaced. Arguments and
 * results travel by value; what a task writes elsewhere stays in its worker.
 *
 * Workers start when work asks for them. They ignore SIGINT, have default
 * actions for the signals that the program handles, a process group of their
 * own, and end with the program, however that ends. To the program they are
 * no children: no SIGCHLD, nothing for waitpid(-1).
 *
 * A timeout of a task ends its worker: SIGTERM, after kill_grace SIGKILL; the
 * future is done when the worker is gone, or has finished too late.
 * soon_future_kill() ends it at once.
 *
 * Blocks until the fork server is ready. 0; -EINVAL, also for SPAWN in a
 * program that has not called soon_init(); -ENOENT: workers could not find the
 * initializer or the finalizer; -ENOMEM; -EAGAIN; -EMFILE, -ENFILE. */
SOON_API int soon_process_pool_new(const soon_process_pool_options *options, soon_executor **out);

/* Stops handing out work, sends every worker SIGTERM or SIGKILL, and goes on
 * as soon_shutdown(ex, 0, SOON_CANCEL_FUTURES). Running tasks fail with
 * -EOWNERDEAD, unless they survive SIGTERM. 0; -ENOTSUP on another backend;
 * -EINVAL; -ENOTRECOVERABLE in a forked child. */
SOON_API int soon_process_pool_terminate_workers(soon_executor *ex);
SOON_API int soon_process_pool_kill_workers(soon_executor *ex);

/* The first thing in main() of a program that uses SOON_START_SPAWN, with
 * main()'s own arguments. In the program itself it returns 0. In a process
 * that the library has spawned it works as a worker and does not return; what
 * main() would have done does not happen there. -EINVAL without an argv; -ENOMEM. */
SOON_API int soon_init(int argc, char **argv);

/* Gives fn a name (1 to 63 bytes, copied) by which spawned workers find it:
 * call it before soon_init(), or from a constructor. Without one a function is
 * found by its object's build-id and its offset there. 0, also for the same
 * pair again; -EINVAL; -EEXIST: the name or the function is taken, until its
 * object is unloaded; -ENOMEM. */
SOON_API int soon_register(const char *name, soon_fn *fn);

/* A sentence on why the last call of this thread that said so in its contract
 * failed, or "": soon_submit() and its kin with -ENOENT or -ENOTRECOVERABLE,
 * soon_process_pool_new(). Valid until the thread's next such failure. */
SOON_API const char *soon_last_error(void);

/* ---- in the submitting thread ---- */

/* Runs each task inside soon_submit(), which returns when it is done: for
 * tests, and for turning concurrency off. 0; -EINVAL; -ENOMEM. */
SOON_API int soon_inline_new(soon_executor **out);

/* ---- in an event loop ---- */

/* Runs tasks in the thread that calls soon_loop_run(). 0; -EINVAL; -ENOMEM;
 * -EMFILE, -ENFILE.
 *
 * Waiting for its shutdown: the thread that last ran the loop, or any thread
 * if none ever did, runs what is queued itself; another one waits for the
 * loop's thread to do so. The last unref: the same thread runs what is queued,
 * another one cancels it, since nobody is left who could run it; a thread that
 * is in soon_loop_run() goes on. */
SOON_API int soon_loop_new(soon_executor **out);

/* A descriptor that polls readable (POLLIN) while tasks are queued, and once
 * shutdown has begun until the queue is empty: for epoll, libuv, GLib. The loop owns it;
 * don't read it or close it. -EINVAL if ex is no loop; -ENOTRECOVERABLE in a
 * forked child. */
SOON_API int soon_loop_fd(soon_executor *loop);

/* Runs queued tasks, those that come in meanwhile too, until none is left or
 * budget of them have run (0: no limit). With none queued waits up to timeout for the
 * first; after shutdown it doesn't wait. Returns the number run;
 * -EINVAL if ex is no loop; -ENOTRECOVERABLE in a forked child. Several threads may
 * run one loop, and a task may run its own. */
SOON_API int soon_loop_run(soon_executor *loop, size_t budget, soon_ns timeout);

SOON_END_DECLS

#endif /* SOON_EXECUTOR_H */
