/* SPDX-License-Identifier: MIT */
/*
 * For tests in which a worker is out of its mind: what it can reach of what it
 * shares with the program, and innocent tasks for the others.
 */
#ifndef SOON_T_HOSTILE_H
#define SOON_T_HOSTILE_H

#include "process_pool.h"

#include "process_pool/channel.h"

/* Descriptors that are looked at: from 0 to FDS - 1. */
enum { FDS = 1024 };

/* The channel as this worker has it, found as any code in it could. */
struct soon__channel *find_channel(size_t *size);

/* Does an open descriptor lead to a thing of that kind that is not a test's? */
bool leads_to(int fd, const char *what);

/* A square, with a timeout: for which reason it is not handed ahead to a worker
 * that runs something else. */
soon_future *submit_innocent(soon_executor *ex, int n);

/* With one worker out of its mind another one gives what it should, for
 * INNOCENTS tasks of several sizes. */
enum { INNOCENTS = 34 };
void assert_innocents_are_right(soon_executor *ex);

#endif /* SOON_T_HOSTILE_H */
