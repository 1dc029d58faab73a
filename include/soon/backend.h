/* SPDX-License-Identifier: MIT */
/*
 * A backend of your own.
 *
 * A backend embeds struct soon_executor as its first member and fills a
 * struct soon_executor_ops. The library does the rest: it checks and copies
 * tasks, makes the futures, keeps max_pending and its overflow policy,
 * counts, guards against forks, and hands the backend futures to run. The
 * pools in lib/ use nothing that this header does not give.
 *
 * The contract of a backend is one sentence: every future it accepted in
 * submit is completed exactly once, and the reference that came with it is
 * dropped exactly once. soon_future_run() does the first for a task that runs
 * in this process; the promise calls of <soon/future.h> and
 * soon_future_set_failure() do it for one whose result comes from elsewhere.
 *
 * A future a backend holds can be done at any time before the backend gets to
 * it: somebody cancelled it, or a waiting worker ran it in place. Claiming
 * (soon_future_run(), soon_future_set_running_or_notify_cancel()) then
 * returns false, and the backend only drops its reference.
 *
 * The life of an executor:
 *
 *     new      soon_executor_init()        one hold: the user's references
 *     tasks    each one in flight is a hold (but see SOON_BACKEND_DRAINS)
 *     workers  soon_executor_hold() each, soon_executor_release() when gone
 *     end      ops->close(), ops->join(); the last hold gone: ops->destroy(),
 *              which ends in soon_executor_fini()
 */
#ifndef SOON_BACKEND_H
#define SOON_BACKEND_H

#include <soon/base.h>
#include <soon/executor.h>
#include <soon/future.h>

SOON_BEGIN_DECLS

/* The library's part of an executor. */
struct soon_executor_core;

/* The head of every executor. Set by soon_executor_init(), constant then. */
struct soon_executor {
    const struct soon_executor_ops *ops;
    struct soon_executor_core *core;
    uint64_t reserved[4];
};

/* ops->flags */
enum {
    SOON_BACKEND_LOCAL = 1,  /* tasks run in this process, sharing its memory */
    SOON_BACKEND_DRAINS = 2, /* tasks need no hold each, which costs two atomic operations on one
                                word: while a task is in flight a worker thread has a hold, and it
                                keeps that until the executor is closed, its queue is empty and
                                soon_executor_drain() returned 0 */
    SOON_BACKEND_REMOTE = 4, /* tasks begin and run where the library does not see it: the ops from
                                look on are set, each future holds the executor until it is freed,
                                and timeouts are the backend's */
};

/* A flag of ops->close: no user has a reference any more, so no call will
 * come that brings work or runs it. */
#define SOON_BACKEND_LAST_REFERENCE 0x80000000u

/* Every function must be thread-safe. The four first are needed. */
struct soon_executor_ops {
    const char *backend; /* its name, static */
    unsigned flags;

    /* Takes the n futures of a chain (walk it with soon_future_next(), and
     * read the link before giving a future away): all or nothing. On 0 one
     * reference to each is the backend's. Must not block on other tasks. 0, or a negative errno:
     * -ESHUTDOWN after close, -ENOTRECOVERABLE broken, -EAGAIN or -ENOMEM no
     * worker. */
    int (*submit)(soon_executor *ex, soon_future *chain, size_t n);

    /* Begins shutdown; called for each soon_shutdown(), and with
     * SOON_BACKEND_LAST_REFERENCE when the last user reference goes. After it
     * returns submit fails; with SOON_CANCEL_FUTURES in flags every pending
     * future has been cancelled, but for those that another thread's close
     * has taken away to cancel them: soon_shutdown() waits until it has,
     * and callbacks that come due meanwhile run after that. Must not wait for
     * tasks. */
    void (*close)(soon_executor *ex, unsigned flags);

    /* Waits until all tasks are done and all workers gone, at most until
     * deadline (CLOCK_MONOTONIC; negative: for ever). 0 or -ETIMEDOUT. */
    int (*join)(soon_executor *ex, soon_ns deadline);

    /* The last hold is gone: release everything. Runs in the thread that
     * dropped it, which may be one of the executor's own. */
    void (*destroy)(soon_executor *ex);

    /* Optional. A future still in the backend's queue was cancelled or run in
     * place elsewhere: its entry there is stale. Called once for each,
     * possibly before submit has returned. */
    void (*withdrawn)(soon_executor *ex, soon_future *f);

    /* Optional. A worker of ex (see soon_worker_enter()) is about to sleep in
     * a wait (begin), or is awake again. Where all would sleep while tasks
     * are queued the backend should start a spare. */
    void (*blocking)(soon_executor *ex, bool begin);

    /* Optional. Ends by force the worker that runs f, for soon_future_kill();
     * not called for a task that runs in soon_future_run(). The library
     * itself fails f with -EOWNERDEAD after this, and completing it gives
     * -EALREADY from before this on. */
    void (*kill)(soon_executor *ex, soon_future *f);

    /* Optional. Adds to *out what the backend alone knows: workers, idle,
     * workers_*, stolen, memory. */
    void (*stats)(soon_executor *ex, soon_stats *out);

    /* From here on: needed with SOON_BACKEND_REMOTE, else unused. f may have
     * been done for a while when one of these is called. */

    /* f is pending as far as the library knows: if it has begun the backend
     * says so with soon_future_set_running_or_notify_cancel(). f NULL: the
     * same of every future; and the next one that begins after this is told
     * without being asked, since somebody waits for room in the queue. */
    void (*look)(soon_executor *ex, soon_future *f);

    /* f, so far pending, is being cancelled, and nobody else can claim it. True:
     * it has not begun, and will not. False: it has; then it is running from
     * here on. Called before withdrawn. Who completes f waits for the answer,
     * so that is not done with a lock that this takes. */
    bool (*recall)(soon_executor *ex, soon_future *f);

    /* f, which runs, is asked to stop: soon_call_cancelled() turns true there. */
    void (*ask)(soon_executor *ex, soon_future *f);

    /* What the call of f last said with soon_call_progress(), if f runs now.
     * False: nothing known. */
    bool (*progress)(soon_executor *ex, soon_future *f, uint64_t *done, uint64_t *total);

    /* A value lent with soon_future_lend(), or room for an argument, is needed
     * no more. Once each, also long after the executor was shut down; not in a
     * forked child. */
    void (*give_back)(soon_executor *ex, const void *value, size_t len, void *token);

    /* Optional. A worker could never find fn: submit fails with -ENOENT. 0 or
     * -ENOENT; message[0..size) receives a sentence. Quick when called again
     * with the same fn. */
    int (*find)(soon_executor *ex, soon_fn *fn, char *message, size_t size);

    /* Optional. The calling thread is about to sleep until f is done, or until
     * deadline (CLOCK_MONOTONIC; INT64_MAX: never): the backend may use it for
     * a few microseconds to that end. The thread may hold locks of the
     * program's: callbacks are to run in another one (soon_callbacks_take()). */
    void (*assist)(soon_executor *ex, soon_future *f, soon_ns deadline);

    /* Optional. Where the argument of a task that is about to be submitted is to
     * lie, len bytes aligned to 16, until the future is done or freed: then
     * ops->give_back(ex, that, len, *token). NULL: the library keeps it itself.
     * In a forked child nobody reads it. Not asked for a map's chunk. */
    void *(*room)(soon_executor *ex, size_t len, void **token);

    void (*reserved[3])(void);
};

/* What the library should know of an executor. */
struct soon_executor_limits {
    unsigned workers;   /* tasks that can run at once, at least 1: sizes a map's chunks */
    size_t max_pending; /* 0: unbounded */
    int overflow;       /* enum soon_overflow */
    uint64_t reserved[4];
};

/* ---- the executor's side ---- */

/* Makes ex an executor with one user reference. 0; -EINVAL; -ENOMEM. */
SOON_API int soon_executor_init(soon_executor *ex, const struct soon_executor_ops *ops,
                                const struct soon_executor_limits *limits);

/* Releases the library's part: at the end of ops->destroy, or to undo init
 * when a constructor fails later on. */
SOON_API void soon_executor_fini(soon_executor *ex);

/* Keeps ex from being destroyed; the matching release may call ops->destroy. */
SOON_API void soon_executor_hold(soon_executor *ex);
SOON_API void soon_executor_release(soon_executor *ex);

/* Waits until no task of ex is in flight (accepted and not done), at most until deadline
 * (CLOCK_MONOTONIC; 0: don't wait; negative: for ever). Meant for after
 * close: before, the wait may miss its end. 0 or -ETIMEDOUT. */
SOON_API int soon_executor_drain(soon_executor *ex, soon_ns deadline);

/* The executor can't run anything any more: from here on submit fails with
 * -ENOTRECOVERABLE, also a blocked one. Failing the futures it holds is the
 * backend's. */
SOON_API void soon_executor_break(soon_executor *ex);

/* The same, with a sentence that soon_last_error() then gives; copied. The
 * first one stays. */
SOON_API void soon_executor_break_because(soon_executor *ex, const char *sentence);

/* What soon_last_error() says in the calling thread from here on; copied.
 * NULL, or no memory: "". */
SOON_API void soon_set_last_error(const char *sentence);

/* Is this process a fork of the one that made ex? A worker that finds itself
 * in one (its task forked) has nothing left to work for. */
SOON_API bool soon_executor_inherited(const soon_executor *ex);

/* ---- the workers' side ---- */

/* Makes the calling thread a worker of ex until leave: the tasks of ex that
 * it waits for it runs in place, and a shutdown that waits gives -EDEADLK in it. A thread is a
 * worker of one executor at a time. enter: 0; -EBUSY. */
SOON_API int soon_worker_enter(soon_executor *ex);
SOON_API void soon_worker_leave(soon_executor *ex);

/* Claims f and, if it was pending, runs its function in the calling thread
 * and completes it, timeout included. False: f was no longer pending. The
 * caller's reference stays the caller's. */
SOON_API bool soon_future_run(soon_future *f);

/* The same in two steps. A future that a worker has taken off its queue is
 * pending until it is claimed, and close must not overlook it: claim under the
 * queue's lock, then run without it. For who has the reference that came with
 * f's submit, and has it alone until run_claimed has returned. */
SOON_API bool soon_future_claim(soon_future *f);
SOON_API void soon_future_run_claimed(soon_future *f);

/* Runs the callbacks that are due in the calling thread, if it is inside one:
 * to be called before it sleeps for what they might bring about. */
SOON_API void soon_flush_callbacks(void);

/* Between the two, callbacks that come due in the calling thread wait: for a
 * backend that completes futures where no foreign code may run. defer returns
 * what resume is to be given, which runs them unless they were deferred
 * before. */
SOON_API SOON_NODISCARD bool soon_callbacks_defer(void);
SOON_API void soon_callbacks_resume(bool before);

/* Calls fn outside of any task: for initializers and finalizers. Returns what
 * fn returned; message[0..size) receives what soon_fail() said, or "". */
SOON_API int soon_worker_call(soon_fn *fn, const void *arg, size_t arg_len, char *message,
                              size_t size);

/* ---- the futures' side ---- */

/* The future after f in a chain or a queue, or NULL. */
SOON_API soon_future *soon_future_next(const soon_future *f);

/* What was submitted; pointers are valid while f is held and pending or
 * claimed by the caller. */
SOON_API void soon_future_task(const soon_future *f, soon_task *task);

/* Finishes f with an error in full, whoever's it is; the message is copied.
 * A backend has to complete what it accepted, so want of memory costs only
 * the message, or all but the code. 0; -EINVAL; -EALREADY, -EBUSY as
 * soon_future_set_result(). */
SOON_API int soon_future_set_failure(soon_future *f, const soon_error *error);

/* Is f pending, with nobody about to cancel or complete it? A glance, for a
 * backend that looks through its queue: asks no backend. */
SOON_API bool soon_future_unclaimed(const soon_future *f);

/* A word of the backend's own in a future that it holds and that is in no
 * chain or queue (it shares the link's place). 4-byte aligned. place gives
 * NULL for a future that was not given one since it left a queue. Guarded by
 * whatever guards the backend's queue. */
SOON_API void soon_future_set_place(soon_future *f, void *place);
SOON_API void *soon_future_place(const soon_future *f);

/* Finishes f, of an executor with SOON_BACKEND_REMOTE, with a result: for its
 * backend what soon_future_set_result() is for everybody else, who gets -EBUSY
 * once f has begun. 0; -EINVAL; -ENOMEM; -EALREADY. */
SOON_API int soon_future_deliver(soon_future *f, const void *value, size_t len);

/* Finishes f with a result that stays where it is, aligned to 16, until f is
 * freed: then ops->give_back(ex, value, len, token). Only for futures of an
 * executor with SOON_BACKEND_REMOTE. 0; -EINVAL; -ENOMEM; -EALREADY, -EBUSY as
 * soon_future_set_result(); then the value is not given back. */
SOON_API int soon_future_lend(soon_future *f, const void *value, size_t len, void *token);

/* What soon_future_progress() says of f from here on, when ops->progress does
 * not. Without memory it is forgotten. */
SOON_API void soon_future_set_progress(soon_future *f, uint64_t done, uint64_t total);

/* Instead of resume: callbacks that came due in the calling thread since defer
 * are its no longer. What it returns, NULL for none, is given to
 * soon_callbacks_put() in the thread that is to run them. */
SOON_API SOON_NODISCARD void *soon_callbacks_take(bool before);
SOON_API void soon_callbacks_put(void *taken);

/* Are there callbacks that soon_callbacks_resume() would run? For a backend
 * that hands its duties to another thread first. */
SOON_API bool soon_callbacks_due(void);

/* ---- a task in another process ---- */

/* How a future's argument is to be taken (it may be one item or a map's chunk
 * of them), for soon_port_call() in the process where it runs. */
SOON_API unsigned soon_future_manner(const soon_future *f);

/* What a call needs of the process it runs in. buffer and unbuffer are called
 * in the thread that runs the task, the others in any thread of the task's. */
struct soon_port {
    void *room;       /* where a small result goes, aligned to 16 */
    size_t room_size; /* how large that may be */

    /* len bytes for a larger one, aligned to 16, or NULL. The one before, if
     * any, is given back after it with unbuffer. */
    void *(*buffer)(struct soon_port *port, size_t len);
    void (*unbuffer)(struct soon_port *port, void *buffer);

    bool (*cancelled)(struct soon_port *port); /* has the task been asked to stop? */
    void (*progress)(struct soon_port *port, uint64_t done, uint64_t total);
    uint64_t reserved[4];
};

/* How a call ended. */
struct soon_outcome {
    int code;           /* 0, or the task's error */
    const void *value;  /* code 0: the result: in port->room, or what port->buffer gave */
    size_t value_len;   /* its length */
    char message[4096]; /* code not 0: what soon_fail() said, or "" */
};

/* Runs fn as a task in the calling thread. What it returns lies in *outcome;
 * a buffer there is the caller's to give back. -ENOMEM in outcome->code where
 * a result could not be had. */
SOON_API void soon_port_call(struct soon_port *port, soon_fn *fn, unsigned manner, const void *arg,
                             size_t arg_len, struct soon_outcome *outcome);

/* ---- queues ---- */

/* A queue of futures by priority, first-in first-out within each, with
 * ageing: a lane that was passed over 64 times while it had work is served
 * next. Not synchronised: guard it with a lock of your own. Zero-initialise.
 * Holds the references it was given. */
struct soon_task_queue {
    struct {
        soon_future *head, *tail;
        unsigned passed_over;
    } lane[3]; /* HIGH, NORMAL, LOW */
    size_t count;
};

/* Appends a chain, each future in the lane of its priority. */
SOON_API void soon_task_queue_push(struct soon_task_queue *queue, soon_future *chain);

/* Takes the next future, or NULL. */
SOON_API soon_future *soon_task_queue_pop(struct soon_task_queue *queue);

/* The same, and if its priority is NORMAL with up to max - 1 of those behind
 * it, as a chain. Lower lanes have been passed over once for each. */
SOON_API soon_future *soon_task_queue_pop_chain(struct soon_task_queue *queue, size_t max);

/* Puts a future back in front of those of its priority: it was taken and has
 * not been run after all. */
SOON_API void soon_task_queue_return(struct soon_task_queue *queue, soon_future *f);

/* Unlinks every future that is no longer pending and returns them as a chain
 * whose references the caller drops: keeps a queue in which much is cancelled
 * from growing. Takes time linear in count. */
SOON_API soon_future *soon_task_queue_sweep(struct soon_task_queue *queue);

SOON_END_DECLS

#endif /* SOON_BACKEND_H */
