/* SPDX-License-Identifier: MIT */
/*
 * Waiting for any of several descriptors (epoll(7)).
 */
#ifndef SOON_OS_POLL_H
#define SOON_OS_POLL_H

#include <soon/base.h>

/* Close-on-exec. The descriptor, or a negative errno. */
int soon__poll_new(void);

/* Watches fd for input, known by token. edge: told once for each new input,
 * instead of for as long as there is some. 0, or a negative errno. A closed
 * descriptor is watched no more. */
int soon__poll_add(int poll_fd, int fd, uint64_t token, bool edge);

/* Sleeps until there is input, at most until deadline, and writes the tokens
 * of up to n descriptors. Their number; 0: none, it is late. */
unsigned soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline);

#endif
