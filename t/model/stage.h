/* SPDX-License-Identifier: MIT */
/*
 * A thread pool without threads, and tasks without functions: the pool's own sources,
 * and in the place of the rest of the library what these models need of it.
 *
 * Here a worker that submits never takes a task of its own, as if each of its
 * tasks took for ever: what it submits has to be found by a worker that was
 * asleep or about to be. If nobody finds it, some worker sleeps until relacy
 * says that all threads do.
 */
#ifndef MODEL_STAGE_H
#define MODEL_STAGE_H

#include "model.h"

#include "core/future.h"
#include "thread_pool/pool.h"

enum { WORKERS = 3, TASKS = 3, NONE = WORKERS };
enum { PENDING, CLAIMED, CANCELLED };

extern struct pool pool;
extern struct worker workers[WORKERS];
extern soon_future tasks[TASKS];
extern _Atomic int state[TASKS];
extern bool workers_leave;           /* when they have been idle for a while */
extern atomic_bool started;          /* one that makes up for it */
extern unsigned role[MODEL_THREADS]; /* which worker a thread is, or NONE */

/* A pool as it is when its workers have just started: before each run. It closes when
 * n_tasks have been run. */
void stage_pool(unsigned n_workers, unsigned n_tasks);

/* For struct model. */
void stage_resumed(unsigned self);

/* False if task i was refused. */
bool stage_submit(unsigned i);

/* True if this call moved it on from PENDING. */
bool stage_end(const soon_future *f, int as);

/* As the close op of pool.c. */
void stage_close(enum pool_end how);

/* As work() in worker.c: one turn, false if it is to leave; and all. */
bool stage_turn(struct worker *self);
void stage_work(struct worker *self);

#define MUTANTS(of) of, sizeof of / sizeof *of

#endif
