/* SPDX-License-Identifier: MIT */
/*
 * The files of one program, test_process, and what they share.
 */
#ifndef SOON_T_PROCESS_CASES_H
#define SOON_T_PROCESS_CASES_H

#include "leftovers.h"
#include "support.h"

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

/* Children: how they end, their signals, names and limits. test_process.c */
void add_child_cases(Suite *suite);

/* Twins, and what is forked and executed from them. process_twin.c */
void add_twin_cases(Suite *suite);

/* Memory in files that have no name. process_shm.c */
void add_shm_cases(Suite *suite);

/* Messages with descriptors. process_packet.c */
void add_packet_cases(Suite *suite);

/* Runs child() in a forked child, which exits with what it returns. Its pid. */
pid_t child_start(int (*child)(void *data), void *data);

/* Waits for a child that must exit with that code. */
void child_exits(pid_t pid, int code);

/* The same at once. */
void assert_child(int (*child)(void *data), void *data);

/* Both ends of a pipe. */
void close_pair(const int fds[2]);

/* Returns once this process has so many threads: one that has been joined is
 * counted by the kernel for a moment longer. */
void await_thread_count(unsigned threads);

#endif /* SOON_T_PROCESS_CASES_H */
