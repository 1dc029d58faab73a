/* SPDX-License-Identifier: MIT */
/*
 * The channel: memory that the pool shares with one worker process, and the
 * protocol on it. No lock lies here, so a worker that is killed at any
 * instruction leaves nothing locked.
 *
 *     header | slot 0 ... slot 63 | arguments (2 MiB) | results (4 MiB)
 *
 * The host hands tasks to the slots in turn: task number p (its position) to
 * slot p % 64. The worker goes through the positions one by one. A slot's state
 * word holds position and phase, so that nobody takes one task for another:
 *
 *                  host                worker                worker
 *     (free) ---> QUEUED ----------> TAKEN -------------> DONE ---> (free)
 *                    |                 "begun"
 *                    | host
 *                    v        worker
 *                 REVOKED ---> PASSED ---> (free)
 *
 * QUEUED -> TAKEN and QUEUED -> REVOKED are compare-and-swap, and one of them
 * wins: a task handed ahead is either begun or given back, never both. All
 * other steps have one side that may make them. A slot is free again when the
 * host has seen DONE or PASSED there; the worker is past it by then.
 *
 * Two sleepers, two Dekker pairs, all seq_cst:
 *
 *   the worker sets asleep, then looks at the state of its next slot, then
 *   sleeps on asleep; the host stores QUEUED (or REVOKED), then looks at asleep.
 *
 *   the host sets bell, then looks at the states, then sleeps in epoll; the
 *   worker stores DONE or PASSED (or, where the bell asks for it, TAKEN), then
 *   looks at bell, and rings by a write to its eventfd.
 *
 * Of each pair at least one sees the other. The host sleeps in one thread, and
 * other threads of it write here, too:
 *
 *   - who hands a worker a task while that thread sleeps sets the bell first,
 *     if it is not set, and QUEUED publishes it. If it was set then, it still
 *     is, or the worker has rung.
 *   - who takes the bell away, to look for a result itself, sets it again, and
 *     then looks once more; so does who asks for BEGINS where ENDS was.
 *
 * Arguments longer than ARG_SMALL lie in the argument area, which the host
 * uses as a ring, or, long ones, in the pool's store, which no worker can write
 * to, and whose file goes over the socket with the first task that lies there;
 * results longer than VALUE_SMALL in the result area, in runs
 * of 64 KiB blocks: the worker takes blocks by setting bits in `blocks`, the
 * host gives them back by clearing them. What is longer than SLAB_MAX, or
 * finds no room there, gets a file of its own, sealed, whose descriptor goes
 * over the worker's socket before the state says so.
 *
 * The worker may be out of its mind. The host keeps its own account of what it
 * handed out (struct entry), reads each word here once, and believes nothing
 * that it has not checked. All that the worker writes is atomic for that
 * reason: a second look could find something else.
 */
#ifndef SOON_PROCESS_POOL_CHANNEL_H
#define SOON_PROCESS_POOL_CHANNEL_H

#include <soon/backend.h>
#include <stdatomic.h>

#include "process_pool/function.h"

#ifndef SOON__RING
#define SOON__RING 64 /* slots; the model checker makes do with 2 */
#endif
#ifndef SOON__REPORTS
#define SOON__REPORTS 8 /* of progress that a slot keeps, a power of 2; in the model 2 */
#endif

enum {
    SOON__ARG_SMALL = 128,   /* bytes in a slot */
    SOON__VALUE_SMALL = 128, /* bytes in a slot */
    SOON__ARGS_SIZE = 2 << 20,
    SOON__BLOCK = 64 << 10,
    SOON__BLOCKS = 64,
    SOON__VALUES_SIZE = SOON__BLOCK * SOON__BLOCKS,
    SOON__SLAB_MAX = 1 << 20, /* bytes of one payload in an area, or in the store */
    SOON__STORE_SIZE = 32 << 20,
};

enum soon__phase {
    SOON__SLOT_FREE,
    SOON__SLOT_QUEUED,
    SOON__SLOT_TAKEN,
    SOON__SLOT_DONE,
    SOON__SLOT_REVOKED,
    SOON__SLOT_PASSED,
};

/* What a slot is for. */
enum soon__errand {
    SOON__ERRAND_TASK = 1,
    SOON__ERRAND_INITIALIZE, /* the first in a worker, which runs no task if that fails */
    SOON__ERRAND_FINISH,     /* the last: the finalizer, if there is one, then the end */
};

/* Where a payload is. */
enum soon__where {
    SOON__IN_SLOT,
    SOON__IN_AREA,      /* at an offset there */
    SOON__IN_FILE,      /* over the socket, with its position */
    SOON__IN_STORE,     /* an argument alone: at an offset in the pool's store (store.c) */
    SOON__IN_NEW_STORE, /* likewise, and the store's file comes over the socket */
};

struct soon__slot {
    _Atomic uint32_t state; /* Sync: atomic, see above */

    /* Sync: the host writes before QUEUED, const until the slot is free */
    uint8_t errand;
    uint8_t arg_where;
    uint16_t manner;
    uint64_t arg_len;
    uint64_t arg_at;
    struct soon__function function;

    /* Sync: atomic; the worker writes before DONE */
    _Atomic int32_t code;
    _Atomic uint32_t origin; /* enum soon_origin of the code */
    _Atomic uint64_t value_where;
    _Atomic uint64_t value_len; /* of the result, or of the message */
    _Atomic uint64_t value_at;
    _Atomic uint64_t
        spent; /* ns from the end of the task before, if it did not sleep, to this end */

    /* Sync: atomic */
    _Atomic uint32_t asked;          /* to stop; the host writes */
    _Atomic uint32_t progress_count; /* of reports; the last is in progress[count %
                                        SOON__REPORTS], and 0: none. The worker writes */

    _Alignas(64) unsigned char arg[SOON__ARG_SMALL];
    unsigned char value[SOON__VALUE_SMALL]; /* the worker writes */

    /* Sync: atomic; the worker writes. At the end, for most tasks touch none. */
    struct soon__progress {
        _Atomic uint64_t done, total;
    } progress[SOON__REPORTS];
};

struct soon__channel {
    /* Sync: const from before the worker is born */
    char name[16];
    uint32_t number;
    uint32_t forked;       /* it has the program's addresses */
    uint64_t memory_limit; /* bytes beyond what it starts with, 0: none */

    _Atomic uint32_t given_up; /* the worker is to end as soon as it can. Sync: atomic: the host
                                  sets, once */

    _Alignas(64) _Atomic uint32_t asleep; /* a futex. Sync: atomic: 1 the worker sets, 0 both */
    _Atomic uint64_t roused; /* when the host has last woken it, or was about to, in ns; a hint.
                                Sync: atomic; the host writes */
    _Alignas(64) _Atomic uint32_t bell; /* enum soon__bell. Sync: atomic: the host sets, the worker
                                           clears */
    _Alignas(64) _Atomic uint64_t blocks; /* of the result area in use. Sync: atomic */
    _Alignas(64) struct soon__slot slot[SOON__RING];
};

enum soon__bell {
    SOON__BELL_OFF,
    SOON__BELL_ENDS,   /* ring at the next DONE */
    SOON__BELL_BEGINS, /* ring also at the next TAKEN */
};

/* Offsets of the areas; multiples of any page size there is. */
enum {
    SOON__ARGS_AT = 64 << 10,
    SOON__VALUES_AT = SOON__ARGS_AT + SOON__ARGS_SIZE,
    SOON__CHANNEL_SIZE = SOON__VALUES_AT + SOON__VALUES_SIZE,
};

_Static_assert(sizeof(struct soon__channel) <= SOON__ARGS_AT, "the slots run into the arguments");

/* With this status a worker exits that a task has taken its descriptors from. */
enum { SOON__EXIT_LOST = 119 };

/* The packet that carries a payload's file. */
struct soon__parcel {
    uint32_t position;
};

static inline uint32_t soon__slot_state(uint32_t position, enum soon__phase phase)
{
    return position << 3 | (uint32_t)phase;
}

static inline struct soon__slot *soon__slot_of(struct soon__channel *channel, uint32_t position)
{
    return &channel->slot[position % SOON__RING];
}

/* One of the two swaps that decide over a queued task. */
static inline bool soon__slot_turn(struct soon__slot *slot, uint32_t position, enum soon__phase to)
{
    uint32_t queued = soon__slot_state(position, SOON__SLOT_QUEUED);

    /* seq_cst: a Dekker pair of the bell (TAKEN); acquire for the worker, which
     * reads the task next. */
    return atomic_compare_exchange_strong(&slot->state, &queued, soon__slot_state(position, to));
}

#endif
