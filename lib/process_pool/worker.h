/* SPDX-License-Identifier: MIT */
/*
 * The life of a worker process.
 */
#ifndef SOON_PROCESS_POOL_WORKER_H
#define SOON_PROCESS_POOL_WORKER_H

#include "os/kept_fd.h"
#include "os/lock.h"
#include "os/packet.h"
#include "process_pool/channel.h"

/* What a worker is born with, by index. */
enum { SOON__FD_CHANNEL, SOON__FD_BELL, SOON__FD_PARCELS };

/* Works until told to finish; ends the process. forked: stdio's buffers are
 * copies of the program's. */
_Noreturn void soon__worker_live(const int fds[3], bool forked);

/* The worker's side of the channel; of its one thread alone. */
struct soon__post {
    struct soon__channel *channel; /* mapped in full */
    unsigned char *args, *values;  /* the areas */
    const unsigned char *store;    /* the pool's, once a task needs it, else NULL */
    const volatile bool *mark;     /* that this is the worker: a task that forks may let the child
                                      return, which has all that a worker needs */
    struct soon__kept_fd bell, parcels;
    int kept[SOON__RING]; /* files that came before their turn, by position; or -1 */
};

/* Are its descriptors still there? A task may close what it likes. */
static inline bool soon__post_is_whole(const struct soon__post *post)
{
    return soon__fd_is_kept(&post->bell) && soon__fd_is_kept(&post->parcels);
}

/* ---- port.c: one call ---- */

/* A result outside its slot, while it is written. */
struct soon__room {
    unsigned char *at; /* NULL: none */
    size_t len;
    int fd; /* a file's, or -1: it lies in the area */
};

struct soon__call_port {
    struct soon_port port; /* first */
    struct soon__post *post;
    struct soon__slot *slot;
    struct soon__room room[2]; /* one in use, and while it is replaced another */
    soon__lock reporting;      /* threads of the task that report progress take turns */
};

void soon__port_init(struct soon__call_port *port, struct soon__post *post,
                     struct soon__slot *slot);

/* Writes how the call ended into the slot; a result's file goes ahead over the
 * socket. What lies in a room is given up. */
void soon__port_deliver(struct soon__call_port *port, uint32_t position,
                        const struct soon_outcome *outcome);

/* The same of an error of the library's own. */
void soon__port_fail(struct soon__slot *slot, int code, const char *message);

#endif
