/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs this process may use.
 */
#ifndef SOON_OS_CPUS_H
#define SOON_OS_CPUS_H

#include <soon/base.h>

/* Where to look; tests point it at a tree of their own. */
struct soon__cpus_paths {
    const char *cgroup;    /* "/proc/self/cgroup" */
    const char *mountinfo; /* "/proc/self/mountinfo" */
};

/* The smaller of affinity and every CPU quota, rounded up, that cgroup v1 or
 * v2 sets on this process's group or an ancestor of it; at least 1. A file
 * that is missing or makes no sense sets no limit. */
unsigned soon__cpus_from(const struct soon__cpus_paths *paths, unsigned affinity);

/* The same for this process. */
unsigned soon__cpus(void);

/* Workers of a pool whose options don't say how many: SOON_MAX_WORKERS of the
 * environment, or soon__cpus(); 0 if the former is no number from 1 to
 * SOON__WORKERS_MAX. */
unsigned soon__workers_default(void);
enum { SOON__WORKERS_MAX = 65536 };

#endif
