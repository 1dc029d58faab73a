/* SPDX-License-Identifier: MIT */
/*
 * The nursery: the process whose children the workers are.
 *
 *     program ---- a thread of the pool's, asleep
 *        |
 *      twin        shares the program's memory (os/process.h); by start method:
 *        |
 *        +-- FORK: the twin is the nursery; workers are forked from the
 *        |   program's memory as it is then
 *        +-- SPAWN: the twin is the nursery; workers execute the program anew
 *        +-- FORKSERVER: the twin has forked a nursery, which forks workers
 *            from the memory it was forked with
 *
 * Each process asks to be killed when its parent ends, so that when the
 * program is gone, however it went, all of them are. But a fork server asks to
 * be told, and kills what tasks have forked as well. A twin could not do that:
 * it may be in fork(), and wait for a lock of a thread that is no more.
 *
 * The nursery does as it is told over a socket, one worker at a time, and
 * tells of each child that has ended. It runs nobody's code.
 *
 * nursery.c is the program's side and the thread, brood.c the loop of the
 * process in which the nursery is, spawn.c how a program is executed anew.
 */
#ifndef SOON_PROCESS_POOL_NURSERY_H
#define SOON_PROCESS_POOL_NURSERY_H

#include <soon/executor.h>
#include <sys/types.h>

#include "os/futex.h"
#include "os/process.h"
#include "os/thread.h"

/* Descriptors that a worker is born with, in this order. */
enum { SOON__BORN_FDS = 3 };

/* Whatever the pool wants to know a worker by. */
struct soon__berth {
    uint32_t seat;
    uint32_t generation;
};

enum soon__report_kind {
    SOON__REPORT_BORN,   /* there is a process */
    SOON__REPORT_FAILED, /* there is none: error */
    SOON__REPORT_DIED,   /* one has ended */
    SOON__REPORT_STAYS,  /* one may not be signalled: error */
};

struct soon__report {
    enum soon__report_kind kind;
    struct soon__berth berth;
    pid_t pid;             /* BORN, DIED, STAYS */
    int pidfd;             /* BORN: the caller's from here on */
    int error;             /* FAILED, STAYS: negative errno */
    struct soon__exit how; /* DIED */
};

struct soon__nursery {
    /* Sync: const while it is open; set by the caller before */
    int method;                                             /* enum soon_start_method */
    void (*born)(void *arg, const int fds[SOON__BORN_FDS]); /* the life of a forked worker; does not
                                                               return */
    void (*gone)(void *arg); /* called by the thread when the nursery has ended, also by a close */
    void *arg;

    /* Sync: const while it is open */
    int fd;       /* our end of the socket: readable when there are reports. -1: closed */
    int far_fd;   /* the other end; or -1 */
    int bell;     /* rings in the nursery when a child of it has ended */
    int program;  /* to see it end also where the system may not send a signal: after the program
                     has given up rights that its twin keeps */
    pid_t parent; /* FORKSERVER: of the nursery, as it sees it. Sync: the nursery's own */
    struct soon__spawning *spawning; /* SPAWN; made once, of the environment at that time */
    struct soon__child *child;       /* the nursery's account of its children */
    pthread_t thread;

    /* Descriptors that the nursery has for the moment, or -1. Sync: the nursery's; the thread's
     * once there is no twin, which may have been killed before it could close them */
    int held[SOON__BORN_FDS + 1];

    _Atomic pid_t twin; /* its pid, or 0. Sync: atomic */
    soon__futex state;  /* inside: 0 starting, 1 ready, 2 did not start. Sync: atomic */
    int error;          /* why it did not start. Sync: written before state */
};

/* Starts a nursery and returns when it is ready: with FORKSERVER, when the
 * memory of the program has been copied. 0; -EAGAIN, -ENOMEM, -EMFILE, -ENFILE:
 * nursery->gone is not called. */
int soon__nursery_open(struct soon__nursery *nursery);

/* Asks for a worker; its report comes later, once each, BORN or FAILED. fds
 * stay the caller's. 0; -EPIPE: the nursery is gone; -EAGAIN: ask again later;
 * another negative errno. */
int soon__nursery_start(struct soon__nursery *nursery, struct soon__berth berth,
                        const int fds[SOON__BORN_FDS]);

/* Has the nursery send a worker a signal, which it may be allowed to where the
 * program is not. If it is not either, the worker's report is STAYS. 0; -EPIPE:
 * the nursery is gone; -EAGAIN: ask again later. */
int soon__nursery_signal(struct soon__nursery *nursery, struct soon__berth berth, int signal);

/* The next report: 0; -EAGAIN: none now; -EPIPE: none any more, the nursery
 * is gone. After that, workers that it had are dead or dying.
 *
 * A worker whose pidfd finds no room in the program's table of descriptors is
 * killed, and its report is FAILED. So a DIED may come for a worker that, as
 * far as the caller knows, never was. */
int soon__nursery_read(struct soon__nursery *nursery, struct soon__report *report);

/* After gone(), and a read that gave -EPIPE: a new one. As open; after an error
 * it may be tried again. */
int soon__nursery_reopen(struct soon__nursery *nursery);

/* Lets the nursery end. Workers that are still there are killed, but for those
 * of which it has said that they stay. Returns when its thread is joined: at
 * once, but for what the system takes. */
void soon__nursery_close(struct soon__nursery *nursery);

/* What a spawned worker finds in its environment; for soon_init(). True if
 * there is something; *fds are close-on-exec from here on, the variable is
 * gone, and the process is settled (os/process.h). Ends the process if its
 * parent is gone, or if the variable makes no sense. A set-user-ID program is
 * never a worker. */
bool soon__nursery_born_here(int fds[SOON__BORN_FDS]);

#endif
