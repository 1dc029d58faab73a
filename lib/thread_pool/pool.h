/* SPDX-License-Identifier: MIT */
/*
 * The thread pool's own structures. pool.c is what its executor's users call,
 * worker.c what its threads do.
 */
#ifndef SOON_THREAD_POOL_POOL_H
#define SOON_THREAD_POOL_POOL_H

#include <soon/backend.h>

#include "os/lock.h"
#include "os/thread.h"

struct pool;

/* A thread of the pool. Freed by the thread itself. */
struct worker {
    struct pool *pool;
    struct worker *next;    /* in pool->workers. Sync: pool->lock */
    struct worker *below;   /* in pool->idle. Sync: pool->lock */
    unsigned number;        /* of its name. Sync: const */
    bool idle;              /* it is in pool->idle. Sync: pool->lock */
    soon__futex awake;      /* 0 while it sleeps or is about to. Sync: atomic */
    struct worker *to_wake; /* next to wake. Sync: who took it from pool->idle */
};

struct pool {
    soon_executor ex; /* first: a pool is an executor */

    /* Sync: const after new */
    unsigned max_workers, min_workers;
    soon_ns idle_timeout;
    char *name;
    size_t stack_size;
    soon_fn *initializer, *finalizer;
    void *init_arg;
    size_t init_arg_len;

    soon__lock lock;
    struct soon_task_queue queue; /* Sync: lock */
    size_t stale;                 /* about how many in queue are done. Sync: lock */
    struct worker *workers;       /* by number. Sync: lock */
    struct worker *idle;          /* the last to fall idle on top. Sync: lock */
    unsigned n_workers, n_idle;   /* Sync: lock */
    unsigned n_blocked;           /* workers that sleep in a wait. Sync: lock */
    uint64_t n_started;           /* Sync: lock */
    bool closed;                  /* Sync: lock */
    bool broken;                  /* Sync: lock */
    pthread_t last;               /* the last thread to leave, to be joined. Sync: lock */
    bool has_last;                /* Sync: lock */
    bool joining;                 /* somebody joins it. Sync: lock */
    soon__futex gone;             /* Sync: atomic: changes when the last worker has left */
};

/* Starts a worker. Under the lock. 0, -EAGAIN, -ENOMEM. */
int soon__worker_start(struct pool *pool);

/* Takes up to n idle workers off the stack, to be woken without the lock. */
struct worker *soon__worker_take_idle(struct pool *pool, size_t n);
void soon__worker_wake(struct worker *taken);

/* Joins a thread that has left, if there is one and nobody else does. Under
 * the lock, which is released meanwhile. */
void soon__worker_join_last(struct pool *pool);

/* Drops the references of a chain. */
void soon__pool_drop(soon_future *chain);

#endif
