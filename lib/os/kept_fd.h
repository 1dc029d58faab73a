/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a process needs while code runs in it that knows nothing of
 * them: code that closes whatever is open, as daemons do when they begin, and
 * then opens files of its own under the same numbers.
 *
 * So they lie where few programs get to, and whoever is about to use one looks
 * first whether it is still what it was.
 */
#ifndef SOON_OS_KEPT_FD_H
#define SOON_OS_KEPT_FD_H

#include <stdbool.h>
#include <stdint.h>

struct soon__kept_fd {
    int fd;
    uint64_t device, inode;
    unsigned type; /* of file */
};

/* Takes over fd, which is closed if there is room at a higher number. */
struct soon__kept_fd soon__fd_keep(int fd);

/* Does the number stand for what it stood for? One eventfd looks like another:
 * who has closed ours and opened another one at its number is not found out. */
bool soon__fd_is_kept(const struct soon__kept_fd *kept);

#endif
