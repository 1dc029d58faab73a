/* SPDX-License-Identifier: MIT */
/*
 * The files of one program, test_nursery, and what they share.
 */
#ifndef SOON_T_NURSERY_CASES_H
#define SOON_T_NURSERY_CASES_H

#include "puppet.h"

/* Workers from birth to death, and the nursery's own. test_nursery.c */
void add_life_cases(Suite *suite);

/* The program ends, in each way there is. nursery_host.c */
void add_host_cases(Suite *suite);

/* What fails, what is full, what makes no sense. nursery_trouble.c */
void add_trouble_cases(Suite *suite);

/* A fixture: what a test leaves behind, descriptors, threads, or children,
 * fails it. */
void count_before(void);
void count_after(void);

#endif /* SOON_T_NURSERY_CASES_H */
