/* SPDX-License-Identifier: MIT */
/*
 * What the core does for a backend with SOON_BACKEND_REMOTE. One suite in
 * several files: what becomes of a future, how it gets in, and how its call
 * and its result travel.
 */
#ifndef SOON_T_REMOTE_CASES_H
#define SOON_T_REMOTE_CASES_H

#include "far.h"

/* Longer than anything here takes, so that a stall fails by name. */
#define ENOUGH SOON_SECONDS(30)

/* The next task begins, and its slot; it has to be there. */
struct far_slot *begin(void);

/* What the backend was asked so far; each that was recalled was withdrawn. */
void expect_asked(unsigned recalls, unsigned recalled, unsigned asks);

/* f has been killed. */
void expect_killed(soon_future *f, const char *message);

/* remote_answer.c */
void add_answer_cases(Suite *suite);

/* remote_submit.c */
void add_submit_cases(Suite *suite);

/* remote_call.c */
void add_call_cases(Suite *suite);

/* remote_map.c */
void add_map_cases(Suite *suite);

/* remote_race.c */
void add_race_cases(Suite *suite);

#endif /* SOON_T_REMOTE_CASES_H */
