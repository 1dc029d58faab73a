/* SPDX-License-Identifier: MIT */
/*
 * Tasks that wait for tasks: a pool never stalls on it, at any depth and with
 * any number of workers, and a wait that could never end says -EDEADLK. One
 * suite in three files: how deep, who waits for whom, what else waits.
 */
#ifndef SOON_T_DEADLOCK_CASES_H
#define SOON_T_DEADLOCK_CASES_H

#include "support.h"

soon_executor *pool_of(unsigned workers);

/* The pool still works, and then ends. */
void assert_goes_on(soon_executor *ex);

/* Futures that tasks wait for by number, and how they meet before that. */
enum { TABLE = 1000 };

struct table {
    soon_future *futures[TABLE];
    struct gate ready;  /* opened when the table is full */
    struct bell joined; /* rings once for each task that runs, if they meet */
    struct gate met;
};

/* New for each test of a case from table_case(). */
extern struct table table;
TCase *table_case(Suite *suite, const char *name);

/* deadlock_cycles.c */
void add_cycle_cases(Suite *suite);

/* deadlock_waits.c */
void add_wait_cases(Suite *suite);

#endif /* SOON_T_DEADLOCK_CASES_H */
