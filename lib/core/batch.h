/* SPDX-License-Identifier: MIT */
/*
 * A chunk of a map as one task: many items in, many results out, by value, so
 * that it can run in any process.
 *
 *     argument   header, then for each item   length, its bytes
 *     result     for each item that ran       code, length, its result or its
 *                                             error's message
 *
 * All parts begin at multiples of 16. Arguments are written in this process,
 * and trusted where they are run. Results may come from one that writes
 * nonsense, and change while they are read.
 */
#ifndef SOON_CORE_BATCH_H
#define SOON_CORE_BATCH_H

#include "core/call.h"

/* An argument being written. Zero-initialise. */
struct soon__batch {
    unsigned char *bytes;
    size_t len, room;
    size_t items;
};

/* Starts an empty chunk. 0, -ENOMEM. */
int soon__batch_begin(struct soon__batch *batch, bool keep_going);

/* A number of the map's own, for it to know the chunk again. */
void soon__batch_set_cookie(struct soon__batch *batch, uint64_t cookie);

/* Adds an item: 0, -ENOMEM. */
int soon__batch_add(struct soon__batch *batch, const void *item, size_t len);
void soon__batch_free(struct soon__batch *batch);

/* How many items of item_len bytes make an argument of at most len; at least 1. */
size_t soon__batch_items_within(size_t len, size_t item_len);

uint64_t soon__batch_cookie(const soon_future *f);

/* Runs fn over the items of a chunk, within the call of the chunk. */
int soon__batch_run(soon_call *call, soon_fn *fn, const void *arg, size_t len);

/* One item's result. */
struct soon__batch_result {
    int code;
    const void *bytes; /* the result; or the message, which need not end in a NUL */
    size_t len;
};

/* Results being read, one after the other, from at, aligned to 16. */
struct soon__batch_reader {
    const unsigned char *at;
    size_t left;
};

/* False at the end, or where the bytes make no sense. */
bool soon__batch_read(struct soon__batch_reader *reader, struct soon__batch_result *result);

#endif
