/* SPDX-License-Identifier: MIT */
#ifndef SOON_CORE_WAIT_H
#define SOON_CORE_WAIT_H

#include "core/future.h"

/* Does this thread run a task, or is it a worker? */
bool soon__may_help(void);

/* Is f one that soon__help() would run? */
bool soon__can_help(const soon_future *f);

/* Runs f right here if it is pending in an executor that the calling thread
 * works for. True if it did. */
bool soon__help(soon_future *f);

/* soon_future_result() in general, and of what is done. */
int soon__wait_result(soon_future *f, soon_ns timeout, void *value, size_t len);
int soon__copy_result(const soon_future *f, void *value, size_t len);

/* soon_future_wait() with a deadline. */
int soon__wait_until(soon_future *f, soon_ns deadline);

#endif
