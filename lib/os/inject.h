/* SPDX-License-Identifier: MIT */
/*
 * Failure injection for tests: the n-th next call at a point fails, once.
 *
 * Only in the library that tests link (SOON_INJECT); in the one that is
 * installed soon__inject() is the constant false.
 */
#ifndef SOON_OS_INJECT_H
#define SOON_OS_INJECT_H

#include <soon/base.h>

enum soon__inject_point {
    SOON__INJECT_ALLOC,
    SOON__INJECT_THREAD,
    SOON__INJECT_EVENTFD,
    SOON__INJECT_MEMFD,
    SOON__INJECT_MMAP,
    SOON__INJECT_SOCKET,
    SOON__INJECT_FORK, /* also a twin, and a child that executes a program */
    SOON__INJECT_PIDFD,
    SOON__INJECT_SIGNALFD,
    SOON__INJECT_SIGNAL, /* to a process elsewhere */
    SOON__INJECT_KILL,   /* a signal to a child */
    SOON__INJECT_SPARE,  /* memory that is not needed */
    SOON__INJECT_POINTS, /* how many there are */
};

#ifdef SOON_INJECT

/* The n-th next call (1: the very next) at that point, in any thread, fails;
 * 0 switches off. */
void soon__inject_after(enum soon__inject_point point, long n);

/* Has the failure that was armed last happened? */
bool soon__inject_fired(enum soon__inject_point point);

/* Asked at the point: should this call fail? */
bool soon__inject(enum soon__inject_point point);

#else

static inline bool soon__inject(enum soon__inject_point point)
{
    (void)point;
    return false;
}

#endif
#endif
