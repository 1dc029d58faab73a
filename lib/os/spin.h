/* SPDX-License-Identifier: MIT */
/*
 * Spinning for a moment before sleeping.
 *
 * Waking a thread that sleeps costs microseconds, and tens of them where an
 * idle virtual CPU has to be started. A thread whose wake-up is likely to come
 * within that time does better to look for it a little longer. It is bounded
 * four ways: in time, to one spinner per place, to machines where the other
 * side can run meanwhile (more than one CPU by affinity and quota), and to
 * times when the pools leave a CPU idle.
 *
 * Where it was not in vain the last time it goes on for longer: things come one
 * right after the other there, and whatever holds one of them up, as a host does
 * that takes a virtual CPU away for a moment, is likely over before a wake-up would
 * be. (As KVM polls before it halts a CPU: halt_poll_ns grows and shrinks.)
 */
#ifndef SOON_OS_SPIN_H
#define SOON_OS_SPIN_H

#include "os/futex.h"

/* A place where at most one thread spins. Zero-initialise. */
typedef struct soon__spinner {
    atomic_flag taken; /* Sync: atomic */
    atomic_bool lucky; /* the last time it was not in vain. Sync: atomic; who has taken it writes */
} soon__spinner;

/* Asks once whether spinning is worthwhile on this machine, which takes files
 * to read and some stack. Before, nobody spins. */
void soon__spin_prepare(void);

/* Spins until a bit of mask is set in *word, for SPIN_NS, or SPIN_LONG times that, and
 * not past deadline. True if one is, read with acquire. */
bool soon__spin(soon__spinner *place, const soon__futex *word, uint32_t mask, soon_ns deadline);

/* Does spinning pay here, as soon__spin_prepare() found? For loops that spin on
 * something else, at most for SOON__SPIN_NS. */
bool soon__spin_pays(void);

/* Spins until ready(data), at most for about ns. */
void soon__spin_for(soon_ns ns, bool (*ready)(const void *data), const void *data);
enum { SOON__SPIN_NS = 5000, SOON__SPIN_LONG = 5 };

/* For a few rounds of a short critical section's length. */
static inline void soon__pause(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

#endif
