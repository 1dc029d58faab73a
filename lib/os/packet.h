/* SPDX-License-Identifier: MIT */
/*
 * Messages with descriptors between processes: a pair of sockets of type
 * SOCK_SEQPACKET, so that a message arrives whole or not at all.
 */
#ifndef SOON_OS_PACKET_H
#define SOON_OS_PACKET_H

#include <soon/base.h>

enum { SOON__PACKET_FDS = 4 }; /* at most, in one message */

/* A connected pair, close-on-exec. 0, or a negative errno. */
int soon__packet_pair(int fds[2]);

/* Ends the connection for both sides, whoever has copies of fd. What has been
 * sent can still be received. */
void soon__packet_end(int fd);

/* Sends len bytes and n descriptors, which stay the caller's. Raises no
 * SIGPIPE. 0; -EAGAIN: full, and wait is false; -EPIPE: the other side is gone;
 * another negative errno. */
int soon__packet_send(int fd, const void *data, size_t len, const int *fds, unsigned n, bool wait);

/* Receives one message of exactly len bytes and up to *n descriptors,
 * close-on-exec, the caller's from here on; *n becomes their number. 0;
 * -EAGAIN: there is none, and wait is false; -EPIPE: the other side is gone, or
 * sent an empty message; -EBADMSG: another length, or more descriptors (all of
 * them are closed); -EMFILE: the process has no room for its descriptors
 * (those that came are closed, data is whole). */
int soon__packet_receive(int fd, void *data, size_t len, int *fds, unsigned *n, bool wait);

#endif
