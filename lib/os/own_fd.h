/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are the library's own, and that a process which it forks
 * has no business with: a worker that runs wild could else write to another
 * worker's bell, or to a socket on which deaths are reported.
 *
 * One bit a descriptor, so that a child finds the set whole at whatever moment
 * it is forked. A descriptor that is not in it for a moment (just opened, about
 * to be closed, or just closed, for a fork copies descriptors before memory), or
 * is one of those beyond OWN_FD_MAX, stays open in a child; no other is ever
 * closed by mistake.
 */
#ifndef SOON_OS_OWN_FD_H
#define SOON_OS_OWN_FD_H

#include <stdbool.h>

enum { SOON__OWN_FD_MAX = 65536 };

/* Takes fd into the set; nothing if it is negative. */
void soon__own_fd(int fd);

/* Takes it out, and closes it; nothing if it is negative. */
void soon__own_fd_close(int fd);

/* Until told otherwise, what this thread forks inherits the set: it is to close
 * the descriptors. The program's own children start with an empty one, since
 * they may use the numbers for something else. */
void soon__own_fds_stay(bool stay);

/* In a forked child: closes what is in the set, but for keep[0..n). */
void soon__own_fds_leave(const int *keep, unsigned n);

#endif
