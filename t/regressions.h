/* SPDX-License-Identifier: MIT */
/*
 * Properties that were once lost, each with the smallest program that shows
 * it. One suite in four files: the pools, the order in which they begin tasks,
 * callbacks and waits, tasks and maps.
 */
#ifndef SOON_T_REGRESSIONS_H
#define SOON_T_REGRESSIONS_H

#include "support.h"

/* Longer than anything here takes, so that a stall fails by name. */
#define ENOUGH SOON_SECONDS(30)

soon_executor *regress_pool(unsigned workers);

/* Shuts down, waits for the end, drops the reference. */
void regress_end(soon_executor *ex);

/* regressions_order.c */
void add_order_regressions(Suite *suite);

/* regressions_core.c */
void add_core_regressions(Suite *suite);

/* regressions_map.c */
void add_map_regressions(Suite *suite);

#endif /* SOON_T_REGRESSIONS_H */
