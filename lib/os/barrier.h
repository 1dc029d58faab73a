/* SPDX-License-Identifier: MIT */
/*
 * A store, then a load that must not go before it, is what costs a thread most
 * among the orders. Where an atomic read-modify-write stands between the two
 * anyway, of whatever object, it may do that for nothing: on x86 each of them is
 * a full barrier. (As Linux says it: smp_mb__after_atomic().)
 *
 * Where none stands there, and the other side has time, that can make up for it: see
 * soon__barrier_everywhere().
 */
#ifndef SOON_OS_BARRIER_H
#define SOON_OS_BARRIER_H

#include <stdatomic.h>
#include <stdbool.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

/* The order of such a store; the load is seq_cst, and the read-modify-write at least
 * acq_rel, so that the compiler leaves both where they are. Elsewhere the store is
 * seq_cst itself, and for thread sanitizer, which goes by the language's rules.
 *
 * The models take the weaker one, and put a fence to the read-modify-write. */
#ifndef SOON__BEFORE_UPDATE
#if (defined __x86_64__ || defined __i386__) && !defined __SANITIZE_THREAD__ && \
    !__has_feature(thread_sanitizer)
#define SOON__BEFORE_UPDATE memory_order_release
#else
#define SOON__BEFORE_UPDATE memory_order_seq_cst
#endif
#endif

/* Is there one? Not if the kernel has none, or a sandbox does not let it be used. Until
 * that has shown once soon__barrier_everywhere() works all the same. */
bool soon__has_barrier_everywhere(void);

/* A full barrier in every thread of the process, some time between call and return, and
 * one in the caller before and after: membarrier(2). What a thread had stored is seen by
 * the caller then, and what it loads from then on is what the caller had stored, or
 * newer. Other threads say where they rely on that by atomic_signal_fence() between store
 * and load, which keeps the compiler from exchanging them.
 *
 * Takes a system call, and interrupts the CPUs that run other threads of the process:
 * some microseconds. */
void soon__barrier_everywhere(void);

#endif
