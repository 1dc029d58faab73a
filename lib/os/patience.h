/* SPDX-License-Identifier: MIT */
/*
 * Wake-ups that can wait for a moment.
 *
 * A thread that collects what workers do, one result after the other, is woken
 * for each and asleep again a microsecond later. Each time costs the worker a
 * system call, and where all CPUs are at work it costs some worker its CPU: a
 * tenth of it and more if a task takes 20 us. Who looks only now and then finds
 * many results at a time, and loses nothing, since what it waits for in the end
 * is not done before the workers are.
 *
 * So a thread that was woken a moment ago is patient. It naps, for SOON__NAP_NS
 * at most, and lets a thread that has more to do leave it asleep. That one then
 * owes it a wake-up, and pays as soon as it has nothing more to do. Nobody relies
 * on that: the worker may be busy for hours. What a patient sleeper relies on is
 * its clock.
 *
 * Each nap takes a CPU from a worker when it ends, so a thread that has done
 * little but nap for a while naps longer: for a sixteenth of that while, up to
 * SOON__NAP_MAX_NS. It sees nothing later by more than a sixteenth of the time
 * that it has spent waiting already. A thread that is awake for more than a
 * sixteenth of its time may be the one that brings the tasks, or whose results
 * are so many that they want collecting: its naps get short again.
 *
 * By the time it pays what was waited for may be gone. So patient sleepers sleep
 * in one of a few places that are always there, chosen by the address; whoever
 * sleeps there for something else is woken for nothing, and looks again.
 */
#ifndef SOON_OS_PATIENCE_H
#define SOON_OS_PATIENCE_H

#include "os/clock.h"
#include "os/futex.h"

enum { SOON__NAP_NS = 200000, SOON__NAP_MAX_NS = 1000000 };

/* The calling thread has more to do than what it is about to do; or no more. What it has
 * said before. */
bool soon__set_busy(bool busy);

/* To sleep until what is there has happened, or until deadline (at most): first
 * a ticket, then whoever makes it happen is let know that somebody waits, then
 * the nap. It ends at once if there was a wake-up after the ticket. */
uint32_t soon__nap_ticket(const void *there);
void soon__nap(const void *there, uint32_t ticket, soon_ns deadline);

/* Wakes those who nap there. */
void soon__rouse(const void *there);

/* The same, or owes it. */
void soon__wake_patient(const void *there);

/* Pays all that the calling thread owes. */
void soon__wake_owed(void);

/* The calling thread has slept until now. */
void soon__was_asleep(soon_ns now);

/* The calling thread is about to nap: for how long? */
soon_ns soon__nap_length(soon_ns now);

/* Was that a moment ago? */
bool soon__is_patient(void);

/* ---- who is at work ---- */

/* A thread of a pool starts or wakes up; ends or goes to sleep. */
void soon__work_begins(void);
void soon__work_ends(void);

/* How many of them are awake, in all pools. Nobody should spin who would take a
 * CPU from one of them. */
unsigned soon__at_work(void);

/* In a forked child: they have all stayed in the parent. */
void soon__work_fork_child(void);

#endif
