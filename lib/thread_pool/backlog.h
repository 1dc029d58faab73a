/* SPDX-License-Identifier: MIT */
/*
 * The tasks of a pool that wait for a worker, by priority, with ageing.
 *
 *     HIGH, LOW    queues of their own, linked
 *     NORMAL       addresses in blocks; what the pool's inbox has is newer
 *
 * Most tasks are NORMAL, and a worker takes them by the share: from a block it
 * copies addresses, where a list would be a cache miss for each. Many at once
 * come in blocks of their own, which their submitter has filled without the lock:
 * so a block in the middle may not be full.
 *
 * Ageing counts turns, as in core/task_queue.c: a lane that was passed over AGE
 * times while it had work is served next.
 */
#ifndef SOON_THREAD_POOL_BACKLOG_H
#define SOON_THREAD_POOL_BACKLOG_H

#include <soon/backend.h>

#include "thread_pool/inbox.h"

struct soon__block;

/* Sync: the pool's lock, all of it. Zero-initialise. */
struct soon__backlog {
    struct soon_task_queue high, low;
    struct soon__block *first, *last; /* of the NORMAL ones, oldest first */
    struct soon__block *spare;
    struct soon__block *swept_to; /* what is before, and this, has been swept; NULL: nothing */
    size_t to_sweep; /* blocks that a sweep under way has still to look at; 0: there is none */
    size_t taken;    /* entries of the first block that are gone */
    size_t n_blocks, n_spare;
    size_t n_normal;
    unsigned passed_over[3]; /* HIGH, NORMAL, LOW */
};

/* Makes sure that n more can be pushed: 0 or -ENOMEM. */
int soon__backlog_reserve(struct soon__backlog *b, size_t n);

/* Appends a chain of at most as many as were reserved. */
void soon__backlog_push(struct soon__backlog *b, soon_future *chain);

/* Moves what is in the inbox behind what is here already: so that what is
 * pushed next comes after it. At most SOON__INBOX_SIZE must be reserved. */
void soon__backlog_fetch(struct soon__backlog *b, struct soon__inbox *inbox);

/* A chain of NORMAL ones that is about to come in: its addresses in blocks, made without
 * the lock. */
struct soon__parcel {
    struct soon__block *first, *last;
    size_t n_blocks, n;
};

/* False if some are not NORMAL, or there is no memory: then *parcel is empty. The
 * chain is left as it is. */
bool soon__parcel_pack(struct soon__parcel *parcel, soon_future *chain);

/* Appends a parcel, which is the backlog's then. Takes the same time for any. */
void soon__backlog_append(struct soon__backlog *b, const struct soon__parcel *parcel);

/* One that was not appended. */
void soon__parcel_free(struct soon__parcel *parcel);

/* Takes what is due: up to max NORMAL ones, or one of another priority. How
 * many; 0 if there is none. */
size_t soon__backlog_take(struct soon__backlog *b, struct soon__inbox *inbox, soon_future **out,
                          size_t max);

/* Is a NORMAL one due, though there is a HIGH? Who has an older one elsewhere takes
 * that instead, and says so. */
bool soon__backlog_is_normal_due(const struct soon__backlog *b);
void soon__backlog_pass_turn(struct soon__backlog *b);

/* How many there are, without the inbox. */
static inline size_t soon__backlog_count(const struct soon__backlog *b)
{
    return b->high.count + b->n_normal + b->low.count;
}

/* Takes out what is no longer pending; a chain. Not from the inbox, where it is
 * little. HIGH and LOW ones all at once; of the others about two thousand, so that nobody
 * waits for the lock for long. While b->to_sweep says so it is to be called again, and in
 * between others may push and take. What comes in meanwhile is not swept, or that would
 * have no end. */
soon_future *soon__backlog_sweep(struct soon__backlog *b);

size_t soon__backlog_memory(const struct soon__backlog *b);

/* Its memory; what it holds is not looked at. */
void soon__backlog_free(struct soon__backlog *b);

#endif
