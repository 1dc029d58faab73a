/* SPDX-License-Identifier: MIT */
/*
 * The loop of the nursery, in the process whose children the workers are.
 */
#ifndef SOON_PROCESS_POOL_BROOD_H
#define SOON_PROCESS_POOL_BROOD_H

#include "process_pool/nursery.h"

enum { SOON__CHILDREN_MAX = 1 << 17 }; /* twice what a pool has, for those that are dying */

struct soon__child {
    pid_t pid;
    struct soon__berth berth;
};

enum soon__request_kind {
    SOON__REQUEST_START, /* with the descriptors of a worker */
    SOON__REQUEST_SIGNAL,
};

struct soon__request {
    enum soon__request_kind kind;
    struct soon__berth berth;
    int signal; /* SIGNAL */
};

/* The last of nursery->held; the others are those of a request. */
enum { SOON__HELD_PIDFD = SOON__BORN_FDS };

/* Closes what the nursery holds. */
void soon__brood_let_go(struct soon__nursery *nursery);

/* Bears, watches and buries workers until the program's end of the socket is
 * closed; returns when all of them are dead. nursery->child has room for
 * CHILDREN_MAX. Calls nothing that takes a lock, but fork(). */
void soon__brood_tend(struct soon__nursery *nursery);

#endif
