/* SPDX-License-Identifier: MIT */
/*
 * Every backend there is, so that a test of what all executors promise runs
 * over each of them. A new backend joins with one line in backends.c.
 */
#ifndef SOON_T_BACKENDS_H
#define SOON_T_BACKENDS_H

#include "support.h"

/* What a test may need of a backend. */
enum {
    TRAIT_DEFERS = 1,   /* submit returns before the task has run */
    TRAIT_LOCAL = 2,    /* tasks share the test's memory; callbacks can run there */
    TRAIT_PAIR = 4,     /* two tasks can run at once */
    TRAIT_SINGLE = 8,   /* no two tasks ever run at once */
    TRAIT_THREADS = 16, /* tasks may start threads, also under the thread sanitizer */
};

struct backend {
    const char *name; /* what soon_executor_backend() says */
    unsigned workers; /* tasks that can run at once */
    unsigned traits;  /* DEFERS, LOCAL and THREADS; the others follow from workers */
    int (*make)(unsigned workers, soon_executor **out);
    void (*drive)(soon_executor *ex, struct gate stop); /* in a thread of the rig, or NULL */
};

/* Runs test once for each backend that has all of the traits; _i is the
 * backend's number. */
void add_over_backends(TCase *tc, const TTest *test, unsigned traits);

enum { WORKERS_MAX = 8 };

/* An executor under test, and the thread that drives it where one is needed. */
struct rig {
    const struct backend *backend;
    soon_executor *ex;
    struct thread driver;
    struct gate stop;
    struct bell driving;
    soon_future *held[WORKERS_MAX]; /* by rig_hold_all() */
    soon_stats born;                /* what it took to have its workers */
};

/* Makes backend number i. */
void rig_up(struct rig *rig, int i);

/* Shuts down, waits, and checks that nothing is in flight. Any number of shutdowns may
 * have come before. */
void rig_down(struct rig *rig);

/* The figures; what the test has not done itself is not counted. */
soon_stats rig_figures(const struct rig *rig);

/* Nothing is in flight, and this many tasks have ended. */
void rig_adds_up(const struct rig *rig, uint64_t submitted);

/* Occupies every worker with task_hold(), once a rig; returns when all are
 * inside. For backends that defer. */
void rig_hold_all(struct rig *rig, const struct hold *hold);

/* Drops the last reference without a shutdown and returns at once; rig_gone()
 * waits for what the rig itself has running: its driver, its held tasks. */
void rig_let_go(struct rig *rig);
void rig_gone(struct rig *rig);

/* A backend from outside the library: one thread, one queue. It says of itself
 * what flags say: SOON_BACKEND_LOCAL is the truth, 0 poses as a backend whose
 * tasks run elsewhere. */
int custom_backend_new(unsigned flags, soon_executor **out);

#endif /* SOON_T_BACKENDS_H */
