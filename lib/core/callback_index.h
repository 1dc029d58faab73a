/* SPDX-License-Identifier: MIT */
/*
 * Finds a callback by (future, fn, data) in constant time, the oldest of
 * equal ones first: a chained hash table for each stripe, guarded by the
 * stripe's lock.
 */
#ifndef SOON_CORE_CALLBACK_INDEX_H
#define SOON_CORE_CALLBACK_INDEX_H

#include "core/callback.h"

struct soon__callback {
    struct soon__hook hook;
    struct soon__callback *next, *prev; /* in its bucket, or next in a thread's queue.
                                           Sync: the stripe; then the thread */
    soon_future *future;                /* Sync: const; a reference once it is due */
    soon_done_fn *fn;                   /* Sync: const */
    void *data;                         /* Sync: const */
    soon_executor *on;                  /* run it there, or NULL. Sync: const; a reference */
    soon_future *task;                  /* the task for it, made beforehand. Sync: const */
};

struct soon__callback_bucket {
    struct soon__callback *head, *tail;
};

/* Sync: the stripe's lock. Zero is an empty index. */
struct soon__callback_index {
    struct soon__callback_bucket *buckets;
    size_t mask; /* buckets - 1 */
    size_t count;
    struct soon__callback_bucket first[1]; /* until the first growth, and without memory */
};

void soon__callback_index_add(struct soon__callback_index *index, struct soon__callback *cb);
void soon__callback_index_remove(struct soon__callback_index *index, struct soon__callback *cb);
struct soon__callback *soon__callback_index_find(const struct soon__callback_index *index,
                                                 const soon_future *f, soon_done_fn *fn,
                                                 const void *data);

#endif
