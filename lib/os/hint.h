/* SPDX-License-Identifier: MIT */
/*
 * What the compiler can't know: which way a branch goes most of the time.
 *
 * Only where millions of tasks a second go: the usual way is laid out without jumps
 * there, and calls on it are inlined, which as much again depends on.
 */
#ifndef SOON_OS_HINT_H
#define SOON_OS_HINT_H

#define soon__likely(condition) __builtin_expect(!!(condition), 1)
#define soon__unlikely(condition) __builtin_expect(!!(condition), 0)

/* For a function with the one variable on its stack whose address others get, if that is
 * a structure without an array: a canary would guard nothing there. */
#ifdef __has_attribute
#if __has_attribute(no_stack_protector)
#define SOON__NO_CANARY __attribute__((no_stack_protector))
#endif
#endif
#ifndef SOON__NO_CANARY
#define SOON__NO_CANARY
#endif

/* For the few functions that each task goes through: they lie beside each other, in few
 * pages. */
#ifdef __GNUC__
#define SOON__HOT __attribute__((hot))
#else
#define SOON__HOT
#endif

#endif
