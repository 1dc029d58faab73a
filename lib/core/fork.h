/* SPDX-License-Identifier: MIT */
/*
 * fork() in the host.
 *
 * Every fork starts a new generation in the child. An executor and the
 * futures it was given remember theirs, so that in a child every call on an
 * inherited one can answer at once instead of waiting for threads that stayed
 * in the parent. The library's process-wide locks are taken around the fork:
 * the child finds them free, and what they guard whole.
 */
#ifndef SOON_CORE_FORK_H
#define SOON_CORE_FORK_H

#include <soon/base.h>

/* From 1 to 65535; 0 is nobody's. */
uint32_t soon__generation(void);

/* Could the handlers be installed? 0 or -ENOMEM. */
int soon__fork_guard(void);

#endif
