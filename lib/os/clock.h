/* SPDX-License-Identifier: MIT */
/*
 * Time: CLOCK_MONOTONIC, in nanoseconds.
 *
 * A public duration becomes a deadline once, at the door; everything inside
 * passes deadlines. A deadline is a point in time, or SOON__NEVER.
 */
#ifndef SOON_OS_CLOCK_H
#define SOON_OS_CLOCK_H

#include <soon/base.h>

#define SOON__NEVER INT64_MAX

/* Nanoseconds since some fixed point; never 0. */
soon_ns soon__now(void);

/* now + timeout without overflow; SOON__NEVER for a negative timeout. */
soon_ns soon__deadline(soon_ns timeout);

/* What is left until a deadline, as a duration: 0 once it has passed. */
soon_ns soon__remaining(soon_ns deadline);

#endif
