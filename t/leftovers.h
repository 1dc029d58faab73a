/* SPDX-License-Identifier: MIT */
/*
 * What a test must not leave behind: processes, open descriptors, mappings of
 * memory without a name. Also a look at processes from outside.
 */
#ifndef SOON_T_LEFTOVERS_H
#define SOON_T_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Once in main(): orphans of the tests' processes become children of this
 * one, where they can be found. */
void leftovers_of_orphans(void);

/* Notes what is there when a test begins. When it ends what has come since
 * has to go; an executor that was dropped without waiting is given ten seconds
 * (times CK_TIMEOUT_MULTIPLIER) for that. */
void leftovers_begin(void);
void leftovers_end(void);

/* ---- processes ---- */

/* A living process: not one that only waits to be reaped. */
struct process {
    pid_t pid, parent;
    char state; /* as in ps(1) */
    char name[16];
};

/* The descendants of a process, or those whose name begins with prefix: how
 * many there are, of which at most max are written to out. */
size_t processes_below(pid_t ancestor, const char *prefix, struct process *out, size_t max);

/* The same of all processes that this test has brought up, those too whose
 * parents are gone. */
size_t processes_of_test(const char *prefix, struct process *out, size_t max);

/* True unless the process is gone or waits to be reaped. */
bool process_lives(pid_t pid);

/* Open descriptors of this process. */
unsigned descriptor_count(void);

/* Mappings of memory without a name (memfd) in this process, the tests' own
 * left out; and in any process how many bytes they span. */
unsigned mapping_count(void);
size_t mapping_bytes(pid_t pid);

#endif /* SOON_T_LEFTOVERS_H */
