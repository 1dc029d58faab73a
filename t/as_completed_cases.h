/* SPDX-License-Identifier: MIT */
/*
 * soon_as_completed: one suite in two files, and what they share.
 */
#ifndef SOON_T_AS_COMPLETED_CASES_H
#define SOON_T_AS_COMPLETED_CASES_H

#include "backends.h"

/* An iterator over n futures, and pending ones to put there. */
soon_as_completed *over(soon_future *const *futures, size_t n);
void promises(soon_future **futures, size_t n);

/* Completes a promise. */
void finish(soon_future *f);

/* The next one, which has to be there now. */
void assert_next(soon_as_completed *it, const soon_future *expected);

void assert_none_now(soon_as_completed *it);
void assert_end(soon_as_completed *it);

/* Its descriptor, readers in many threads, tasks of every backend.
 * as_completed_readers.c */
void add_reader_cases(Suite *suite);

#endif /* SOON_T_AS_COMPLETED_CASES_H */
