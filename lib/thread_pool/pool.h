/* SPDX-License-Identifier: MIT */
/*
 * The thread pool's own structures. pool.c is what its executor's users call,
 * worker.c the life of its threads, schedule.c how tasks and threads find each
 * other, share.c how much of the queue a worker takes, runner.c when one takes all
 * of it, idle.c what threads do that find none, flush.c what becomes of tasks that
 * end before their turn.
 */
#ifndef SOON_THREAD_POOL_POOL_H
#define SOON_THREAD_POOL_POOL_H

#include <soon/backend.h>

#include "core/chain.h"
#include "core/deque.h"
#include "os/lock.h"
#include "os/spin.h"
#include "os/thread.h"
#include "os/wait_group.h"
#include "thread_pool/backlog.h"
#include "thread_pool/inbox.h"

struct pool;

/* worker->awake */
enum {
    WORKER_PARKING = 0, /* on the idle stack, about to sleep */
    WORKER_AWAKE = 1,   /* taken off the stack, or never on it */
    WORKER_ASLEEP = 2,  /* as PARKING, and needs a futex wake */
};

/* A thread of the pool. Freed by the thread itself. */
struct worker {
    struct soon__deque deque; /* tasks its tasks submitted, and its share of the queue */
    struct pool *pool;        /* Sync: const */
    struct worker *next;      /* in pool->workers. Sync: pool->lock */
    struct worker *below;     /* in pool->idle. Sync: pool->lock */
    struct worker *to_wake;   /* next to wake. Sync: who took it from pool->idle */
    unsigned number;          /* of its name. Sync: const */
    int cpu;                  /* that it last ran on, while idle. Sync: pool->lock */
    bool idle;                /* it is in pool->idle. Sync: pool->lock */
    bool briefly;             /* while idle: it looks soon whether one is too many. Sync: the
                                 worker writes, under pool->lock */
    soon_ns look_at;          /* when, if briefly. Sync: worker-only */
    bool searching;           /* it will look for work before it sleeps. Sync: pool->lock */
    bool relays;              /* just woken or started: it sees to the work that it leaves.
                                 Sync: pool->lock */
    soon__futex awake;        /* Sync: atomic, see above */
    unsigned turns;           /* tasks taken from its deque. Sync: worker-only */
    unsigned passed_over;     /* times that a HIGH went before its deque. Sync: worker-only */
    bool leaving;             /* nobody counts on it any more. Sync: worker-only */

    /* What it has that is older than the queue: see share.c. Sync: pool->lock,
     * but that the worker reads old_end at any time. */
    int64_t old_end;                /* deque entries before this */
    bool has_old;                   /* it is in pool->oldest's list */
    struct worker *older, *newer;   /* there */
    _Atomic uint64_t stolen, begun; /* tasks. Sync: atomic; the worker writes */

    /* See runner.c. Sync: pool->lock, and the worker may read at any time */
    bool has_share;      /* it runs one that is large enough to judge by */
    bool was_slow;       /* the one before was */
    uint64_t share_from; /* begun was that when it took it */
    soon_ns share_began; /* and the time */
    soon_ns seen_at;     /* it has looked at the runner's begun */
    uint64_t seen_begun; /* which was that */
    uint32_t ticket;     /* pool->rouse was that, before it naps */
    soon_ns calm_since;  /* and pool->calm_since that */
};

struct pool {
    soon_executor ex; /* first: a pool is an executor */

    /* Sync: const after new */
    unsigned max_workers, min_workers, cpus;
    soon_ns idle_timeout;
    char *name;
    size_t stack_size;
    soon_fn *initializer, *finalizer;
    void *init_arg;
    size_t init_arg_len;

    /* Read at every turn and every push, and seldom written. Sync: atomic,
     * written under lock */
    atomic_bool queued;  /* the queue is not empty */
    atomic_bool urgent;  /* it has a HIGH */
    atomic_bool helpers; /* new work needs somebody to see to it: some worker is idle or may be
                            started or called, and none is searching; or the pool ends, and it was
                            too late */
    _Atomic int ending;  /* enum pool_end */

    /* Workers that do without barriers: see core/deque.h. Sync: atomic, written by these */
    _Atomic unsigned n_swift;

    /* Written by every push from outside. */
    struct soon__inbox inbox; /* newer than the queue. Sync: its own */

    /* Written by who has the lock. */
    _Alignas(64) soon__lock lock;
    struct soon__backlog queue;       /* Sync: lock */
    _Atomic size_t stale;             /* about how many in queue are done. Sync: atomic */
    struct worker *workers;           /* by number. Sync: lock */
    struct worker *idle;              /* the last to fall idle on top. Sync: lock */
    struct worker *oldest, *newest;   /* workers whose deques may have what is older than the queue.
                                         Sync: lock */
    struct worker *runner;            /* or NULL: see runner.c. Sync: lock */
    struct worker *watcher;           /* who naps, or NULL. Sync: lock */
    soon_ns no_runner_until;          /* Sync: lock */
    soon_ns calm_since;               /* or 0: there was no runner yet. Sync: lock */
    soon__futex rouse;                /* Sync: atomic: changes when the watcher is to look */
    unsigned n_workers;               /* threads. Sync: lock */
    unsigned n_staying;               /* of them, those not about to leave. Sync: lock */
    unsigned n_blocked;               /* workers that sleep in a wait. Sync: lock */
    unsigned n_idle, n_reserve;       /* on the idle stack: who counts, and who is one too many.
                                         Sync: lock */
    unsigned n_briefly;               /* there: who sleep briefly, n_reserve or more. Sync: lock */
    soon_ns surplus_at;               /* the last one became one too many; or 0. Sync: lock */
    unsigned n_searching;             /* Sync: lock */
    bool spinning;                    /* a worker spins before it sleeps. Sync: lock */
    bool lucky;                       /* the last one found something. Sync: lock */
    uint64_t n_started;               /* Sync: lock */
    uint64_t n_stolen;                /* by workers that have left. Sync: lock */
    struct soon__wait_group flushers; /* threads in soon__flush(). Sync: its own */
    char *why_broken;                 /* or NULL. Sync: lock; const once ending is BROKEN */
    pthread_t last;                   /* the last thread to leave, to be joined. Sync: lock */
    bool has_last;                    /* Sync: lock */
    bool joining;                     /* somebody joins it. Sync: lock */
    soon__futex gone;                 /* Sync: atomic: changes when the last worker has left */
};

/* How the pool ends, in the order in which one replaces the other. */
enum pool_end {
    POOL_OPEN,
    POOL_CLOSED,     /* what is queued still runs */
    POOL_CANCELLING, /* what is queued is cancelled */
    POOL_BROKEN,     /* what is queued fails */
};

/* The calling thread's, if it is a worker of any pool. */
extern _Thread_local struct worker *soon__this_worker;

/* ---- schedule.c ---- */

/* Gives a chain of n tasks to the pool and sees to it that workers will run
 * them. 0, or an error of starting the only worker. */
int soon__schedule(struct pool *pool, soon_future *chain, size_t n);

/* Somebody has to see to what went into a deque or the inbox, or it was too late. */
void soon__attend(soon_executor *ex);

/* The next task for a worker, not claimed yet, and self->deque.taking set; or NULL:
 * then it has been woken for nothing, or is to leave (*leave). Sleeps. */
soon_future *soon__next_task(struct worker *self, bool *leave);

/* Workers that are not asleep in a wait, or could be woken. Under the lock. */
static inline unsigned soon__awake(const struct pool *pool)
{
    return pool->n_staying - pool->n_blocked;
}

/* Is any task queued anywhere? Under the lock. */
bool soon__has_work(struct pool *pool);

/* Refreshes what the queue says of itself to workers after a change. Under
 * the lock. */
void soon__count_queue(struct pool *pool);

/* ---- share.c: all under the lock ---- */

/* What a worker has in its deque now goes before what it puts into the queue. */
void soon__put_deque_first(struct worker *self);

/* What came from outside, in the order of age except for a HIGH: one task to
 * run, or NULL. If the deque is empty some of what is behind it goes there. */
soon_future *soon__take_outside(struct worker *self);

/* A worker that leaves has nothing in its deque. */
void soon__forget_deque(struct worker *self);

/* ---- runner.c: all under the lock but the nap ---- */

/* A worker takes a share of so many tasks, or nothing; until now it ran another. */
void soon__judge_share(struct worker *self, size_t next);

/* To who looks for work: does another run what comes from outside? It does not
 * watch any more, whatever the answer. */
bool soon__leave_to_runner(struct worker *self);

/* It is not any more, if it was. So the watcher is to look; or need not, since the
 * runner has run all. */
void soon__end_runner(struct pool *pool, const struct worker *runner);
void soon__rest_runner(struct pool *pool, const struct worker *runner);

/* That has left it to the runner. Then it naps, and looks again. */
void soon__start_watching(struct worker *self);
void soon__nap_watching(const struct worker *self);

/* Ends the nap. */
void soon__rouse_watcher(struct pool *pool);

/* The same, to have it look for work, if nobody relies on it yet. Else false. */
bool soon__call_watcher(struct pool *pool);

/* ---- idle.c: all under the lock but wake(), wake_all() and park() ---- */

/* Refreshes pool->helpers after a change of what it depends on. */
void soon__count_helpers(struct pool *pool);

/* Workers to be woken, or started, for n tasks. stays: the calling thread goes on, else
 * it is about to sleep. 0, or the error of starting the only one. */
int soon__find_workers(struct pool *pool, size_t n, bool stays, struct worker **taken);

/* Wakes what soon__find_workers() has taken, or all idle workers. */
void soon__wake(struct worker *taken);
void soon__wake_all(struct pool *pool);

/* Pushers leave it to a worker that searches to find what they push: so first
 * it is one no more, then it looks. */
void soon__start_searching(struct worker *self);
void soon__stop_searching(struct worker *self);

/* On the idle stack, and off it. */
void soon__push_idle(struct worker *self);
void soon__remove_idle(struct worker *self);

/* The same for one that has decided to leave, and is there from now on as one too many. */
void soon__push_reserve(struct worker *self);

/* Sleeps until taken off the idle stack. False if it was there for too long, and is off
 * it now: it leaves. */
bool soon__park(struct worker *self);

/* A worker decides to leave: from here on nobody counts on it. After
 * this it may still take its time. */
void soon__decide_to_leave(struct worker *self);

/* It has changed its mind before anybody could know. */
void soon__decide_to_stay(struct worker *self);

/* ---- flush.c ---- */

/* A task still queued was claimed or cancelled elsewhere. */
void soon__count_stale(struct pool *pool);

/* Runs everything queued in the calling thread: no worker is awake, and none
 * can be started. */
void soon__run_rest(struct pool *pool);

/* Ends everything queued as pool->ending says. */
void soon__flush(struct pool *pool);

/* ---- worker.c ---- */

/* Starts a worker. Under the lock. 0, -EAGAIN, -ENOMEM. */
int soon__worker_start(struct pool *pool);

/* Joins a thread that has left, if there is one and nobody else does. Under
 * the lock, which is released meanwhile. */
void soon__worker_join_last(struct pool *pool);

#endif
