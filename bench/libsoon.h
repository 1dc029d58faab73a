/* SPDX-License-Identifier: MIT */
/*
 * Between the files of libsoon's own program.
 */
#ifndef BENCH_LIBSOON_H
#define BENCH_LIBSOON_H

#include "harness.h"

/* What is measured of the process pool. */
extern const struct bench_workload libsoon_process_workloads[];

#endif /* BENCH_LIBSOON_H */
