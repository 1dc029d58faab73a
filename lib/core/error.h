/* SPDX-License-Identifier: MIT */
#ifndef SOON_CORE_ERROR_H
#define SOON_CORE_ERROR_H

#include "core/future.h"

#include <errno.h>
#include <stdarg.h>

enum { SOON__MESSAGE_MAX = 4096 }; /* with its NUL */

/* A message, cut to SOON__MESSAGE_MAX at a UTF-8 boundary; NULL without
 * memory. Freed with soon__free_string(). */
char *soon__message(const char *format, va_list args) SOON_PRINTF(1, 0);

/* A standard text for an error code; static. */
const char *soon__text(int code);

/* How a future that is done ended. */
void soon__error_of(const soon_future *f, soon_error *error);

/* What soon_future_result() and value return for it: 0 or its error. */
static inline int soon__code_of(const soon_future *f)
{
    return soon__unlikely((soon__state(f) & SOON__PHASE) == SOON_CANCELLED) ? -ECANCELED : f->code;
}

#endif
