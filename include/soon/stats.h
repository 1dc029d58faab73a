/* SPDX-License-Identifier: MIT */
/*
 * Figures of an executor.
 */
#ifndef SOON_STATS_H
#define SOON_STATS_H

#include <soon/base.h>

SOON_BEGIN_DECLS

/* A snapshot. Each figure is exact; they are read one after the other while
 * work goes on, so that sums over them hold exactly when nothing is in
 * flight: then submitted = finished + failed + cancelled + timed_out. */
typedef struct soon_stats {
    unsigned workers; /* now */
    unsigned idle;    /* of them, waiting for work */
    uint64_t workers_started;
    uint64_t workers_crashed;  /* not those killed on purpose or past a timeout */
    uint64_t workers_replaced; /* after max_tasks_per_child */
    uint64_t pending, running; /* now */
    uint64_t finished;         /* since the start, with a result */
    uint64_t failed;           /* with an error other than the two below */
    uint64_t cancelled;
    uint64_t timed_out; /* ran past their timeout (-ETIME) */
    uint64_t stolen;    /* tasks a worker took from another worker's own queue */
    uint64_t helped;    /* tasks a waiting worker ran in place */
    uint64_t bytes_in;  /* argument bytes accepted */
    uint64_t bytes_out; /* result bytes of finished tasks */
    uint64_t memory;    /* bytes the executor holds now, tasks in flight included */
    uint64_t reserved[8];
} soon_stats;

SOON_END_DECLS

#endif /* SOON_STATS_H */
