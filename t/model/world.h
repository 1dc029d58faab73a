/* SPDX-License-Identifier: MIT */
/*
 * A process pool inside the model checker: the library's own sources on both
 * sides of a channel, and what they stand on in small.
 *
 *     world.c         futures, of which only the state and what befell them is
 *                     left, and the program's threads, here called users
 *     world_os.c      descriptors, time, and workers: one thread of the model
 *                     that lives their lives, one by one
 *     world_memory.c  what they share: each part that the two sides hand to each
 *                     other is a cell, and who touches it at a wrong time races
 *
 * Nobody looks by himself when a time has come: the monitor sleeps until it is
 * told. A wake-up that is lost is lost for good, and in the end all sleep.
 */
#ifndef SOON_MODEL_WORLD_H
#define SOON_MODEL_WORLD_H

#include "model.h"

#include "process_pool/pool.h"

#include <limits.h>

enum { WORLD_TASKS = 3, WORLD_LIVES = 2 };

/* Which thread is what; the others are users. */
enum { WORLD_WORKER, WORLD_MONITOR, WORLD_USER, WORLD_OTHER };

enum world_phase {
    TASK_PENDING,
    TASK_DECIDING, /* somebody asks the pool whether it has begun */
    TASK_RUNNING,
    TASK_CANCELLED,
    TASK_FAILED,
    TASK_FINISHED,
};

struct soon_future {
    soon__futex phase;    /* enum world_phase */
    unsigned char number; /* which task it is: its argument's first byte, and its result's */
    size_t arg_len;
    size_t result; /* its length, if that is too long for a slot */
    soon_future *next;
    void *place;

    bool submitted;
    bool told;   /* to have begun */
    bool killed; /* completed by who killed it */
    unsigned runs;
    uint64_t progress; /* as it was last told */
    const void *value; /* lent to it: these three */
    size_t value_len;
    void *token;
};

/* Lengths of arguments: for a slot, for half of the area, for a file. */
enum { ARG_SLOT = 1, ARG_AREA = SOON__SLAB_MAX, ARG_FILE = SOON__SLAB_MAX + 1 };

/* Lengths of results: copied from the area, or lent there. */
enum { RESULT_COPIED = SOON__BLOCK, RESULT_LENT = SOON__BLOCK + 1 };

extern struct pool world_pool;
extern soon_future world_task[WORLD_TASKS];

/* ---- in before() ---- */

/* A pool whose one worker has been born, the first of so many. */
void world_begin(unsigned users, unsigned lives);

/* How often a worker may still die of itself, and how often one has died. */
extern unsigned world_deaths, world_n_deaths;

/* Nobody has the right to signal the worker. */
extern bool world_untouchable;

/* What tasks do, or NULL. */
extern void (*world_function)(soon_future *f, struct soon_port *port);

/* ---- in threads ---- */

void world_resumed(unsigned self);
void world_worker(void);
void world_monitor(void);

void world_submit(unsigned i, size_t arg_len);
void world_cancel(unsigned i);

/* Cancels it, or else kills its worker, unless it is done. */
void world_kill(unsigned i);

/* Asks whether it has begun. */
void world_look(unsigned i);

/* What the monitor does where a worker is stuck. */
void world_take_back(void);

void world_assist(unsigned i);
void world_wait(unsigned i);

/* Reads a result that was lent, if it was, and gives it back. */
void world_give_back(unsigned i);

/* A user needs the pool no more; the last one closes it. */
void world_leave(void);

/* ---- in after() ---- */

/* Every task has come to its end, once, and nothing is left. */
void world_end(void);

/* ---- between the parts of the world ---- */

/* From here on descriptors are the world's: closing one that is real would do
 * harm. */
enum { WORLD_FD = INT_MAX / 2 };

/* One side writes or reads what is at an address; what lies outside of the
 * memory that is shared is nobody else's. */
void world_wrote(const void *at);
void world_read(const void *at);

/* The channels that there are so far. */
extern unsigned world_n_lives;
struct soon__channel *world_channel(unsigned life);

/* The worker that was asked for is there. */
void world_be_born(void);

/* Here a worker may die, if it is one that calls. */
void world_perhaps_die(void);

/* The thread that the pool has started. */
extern void *(*world_thread)(void *arg);

/* Their parts of world_begin() and world_end(). */
void world_memory_begin(unsigned lives);
void world_memory_end(void);
void world_os_begin(void);
void world_os_end(void);

#endif
