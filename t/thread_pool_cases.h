/* SPDX-License-Identifier: MIT */
/*
 * The files of one program, test_thread_pool, and what they share.
 */
#ifndef SOON_T_THREAD_POOL_CASES_H
#define SOON_T_THREAD_POOL_CASES_H

#include "support.h"

/* Workers: when they start and leave, what they are called, what they run
 * first and last. test_thread_pool.c */
void add_worker_cases(Suite *suite);

/* Initializers that fail, threads that cannot be started, the end of the
 * process. thread_pool_trouble.c */
void add_trouble_cases(Suite *suite);

/* The queue: bounds, order, ageing. thread_pool_queue.c */
void add_queue_cases(Suite *suite);

soon_executor *pool_new(const soon_thread_pool_options *options);

/* Shuts down, waits for all of it, and drops the reference. */
void pool_end(soon_executor *ex);

soon_stats pool_stats(soon_executor *ex);

/* Threads of this process while no pool runs: what is to be there again when
 * the last one has ended. */
unsigned idle_thread_count(void);

/* Return once the pool's figures say so. */
void await_workers(soon_executor *ex, unsigned workers);
void await_idle(soon_executor *ex, unsigned idle);

/* Submits tasks that hold n workers, and returns when all of them run. */
void hold_workers(soon_executor *ex, struct hold *hold, unsigned n);

#endif /* SOON_T_THREAD_POOL_CASES_H */
