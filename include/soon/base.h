/* SPDX-License-Identifier: MIT */
/*
 * What every other header needs: durations, error conventions, visibility.
 *
 * Conventions, once for the whole library:
 *
 *  - A function that can fail returns an int: 0 or a count on success, a
 *    negative errno on failure. A call that fails has changed nothing. The
 *    object made comes through the last parameter.
 *  - A future handed out through an out-parameter is a reference the caller
 *    owns and drops with soon_future_unref().
 *  - Everything may be called from any thread, from inside a task and from
 *    inside a callback, unless its comment says otherwise.
 *  - Option structs are plain; zero means the default; a NULL pointer to one
 *    means all defaults. Their reserved words must be zero.
 *  - Misuse that has no honest answer (a reference dropped below zero, an
 *    iterator freed while another thread is in it) prints one sentence on
 *    stderr and aborts.
 */
#ifndef SOON_BASE_H
#define SOON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SOON_BEGIN_DECLS extern "C" {
#define SOON_END_DECLS }
#else
#define SOON_BEGIN_DECLS
#define SOON_END_DECLS
#endif

/* A call goes to a shared library without a stub between. */
#ifdef __has_attribute
#if __has_attribute(__noplt__)
#define SOON_NOPLT __attribute__((__noplt__))
#endif
#endif
#ifndef SOON_NOPLT
#define SOON_NOPLT
#endif

#if defined __GNUC__
#define SOON_API __attribute__((__visibility__("default"))) SOON_NOPLT
#define SOON_NODISCARD __attribute__((__warn_unused_result__))
#define SOON_PRINTF(fmt, first) __attribute__((__format__(__printf__, fmt, first)))
#else
#define SOON_API
#define SOON_NODISCARD
#define SOON_PRINTF(fmt, first)
#endif

/* A duration in nanoseconds, measured on CLOCK_MONOTONIC. 0 polls: the call
 * does not block. A negative one never ends. */
typedef int64_t soon_ns;

#define SOON_FOREVER ((soon_ns)-1)
#define SOON_MS(n) ((soon_ns)(n)*1000000)
#define SOON_SECONDS(n) ((soon_ns)(n)*1000000000)

#endif /* SOON_BASE_H */
