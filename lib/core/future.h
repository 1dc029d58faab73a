/* SPDX-License-Identifier: MIT */
/*
 * The inside of a future: its layout, its state word, its transitions.
 *
 *
 * The state word, which is also the futex that single waiters sleep on:
 *
 *     31        16 15   9 8   7   6   5   4   3   2   1 0
 *     +-----------+------+---+---+---+---+---+---+---+---+
 *     | birthplace|  0   | P | N | A | H | W | C | R |   phase
 *     +-----------+------+---+---+---+---+---+---+---+---+
 *
 *     phase       enum soon_state; bit 1 set means done
 *     R CALL      soon_future_run() runs the function; only it, or the
 *                 timer, may complete
 *     C CLOSING   somebody has won the right to complete and is about to
 *     W WAITERS   somebody may sleep on the word
 *     P PATIENT   with WAITERS: they all wake by themselves in a moment (see
 *                 os/patience.h)
 *     H HOOKS     the hook list may be non-empty
 *     A ASKED     the running task was asked to stop
 *     N CANCELLING  with CLOSING: it will be CANCELLED; one that is with a
 *                 remote backend perhaps, and perhaps RUNNING
 *     birthplace  the process that the executor lives in, by fork generation
 *                 (see fork.h); 0 for a promise, which belongs to none
 *
 * Who makes which transition:
 *
 *     PENDING -> RUNNING            whoever wins the claim: a worker, a waiter
 *                                   that runs the task in place, the promise side
 *     PENDING -> CLOSING+CANCELLING a canceller; with a remote backend also
 *                                   who says that it has begun, or brings a
 *                                   result and is not the backend
 *     CLOSING+CANCELLING -> RUNNING the same thread, with a remote backend,
 *                                   if it has begun
 *     PENDING, RUNNING -> CLOSING   the promise side; for a call that has a
 *                                   timeout its worker or the timer
 *     RUNNING|CALL -> FINISHED      the worker of a call without a timeout:
 *                                   nobody else may complete it, so it needs
 *                                   no CLOSING, and a completion is one
 *                                   atomic operation
 *     CLOSING -> CANCELLED, FINISHED  who closed it
 *
 * All of them are compare-and-swap on this one word, except the last step to
 * done, an exchange by the only thread that may make it. That exchange clears
 * W and H and returns them: every sleeper and hook that got its bit in before
 * sees the completion, and one that comes later finds the phase done instead.
 * Where it is known that there are none, it may be a compare-and-swap of both words
 * that drops a reference besides (soon__finish_queued()).
 * Plain stores do for a task of which nobody has a reference any more but the
 * worker that runs it (transition.h).
 *
 * What a future's result or error is made of (value, code, extra's error) is
 * written only between winning the right to complete and the exchange, and
 * read only after an acquire load saw the phase done.
 */
#ifndef SOON_CORE_FUTURE_H
#define SOON_CORE_FUTURE_H

#include <soon/future.h>

#include "core/fork.h"
#include "os/clock.h"
#include "os/fetch.h"
#include "os/futex.h"
#include "os/hint.h"
#include "os/pair.h"

#include <string.h>

enum {
    SOON__PHASE = 0x03,
    SOON__DONE = 0x02,
    SOON__CALL = 0x04,
    SOON__CLOSING = 0x08,
    SOON__WAITERS = 0x10,
    SOON__HOOKS = 0x20,
    SOON__ASKED = 0x40,
    SOON__CANCELLING = 0x80,
    SOON__PATIENT = 0x100,
    SOON__BIRTHPLACE_SHIFT = 16,
};

/* future->flags; const after init */
enum {
    SOON__SLOT = 1,      /* counts towards its executor's max_pending while pending */
    SOON__TIMED = 2,     /* extra->timeout is set */
    SOON__BATCH = 4,     /* the argument is a chunk of a map: see batch.h */
    SOON__KILLABLE = 8,  /* its executor has a kill op */
    SOON__CALLBACK = 16, /* it is an `_on` callback's task: see callback.c */
    SOON__REMOTE = 32,   /* its executor has SOON_BACKEND_REMOTE, and is held until it is freed */
    SOON__SURPLUS = 64,  /* its submitter runs it: the backend never sees it */
    SOON__LARGE = 128,   /* its argument is in a blob */
};

enum {
    SOON__PAYLOAD = 48,   /* bytes for argument and result inside the future */
    SOON__WORD_ROOM = 16, /* of it for a result of a word, see soon__move_word() */
    SOON__OUTSIDE = 255,  /* a length that says: in a blob of its own */
    SOON__LENT = 254, /* a length that says: where the backend keeps it; see struct soon__loan */
};

/* Bytes outside a future: a large argument or result. */
struct soon__blob {
    size_t len;
    size_t room; /* bytes allocated behind */
    _Alignas(16) unsigned char bytes[];
};

/* A result that stays with the backend until the future is freed, or an
 * argument that does until it is done. */
struct soon__loan {
    const void *value;
    size_t len;
    void *token; /* what the backend knows it by */
};

/* What few futures need, allocated when one does. */
struct soon__extra {
    soon_ns timeout;                   /* Sync: const after init */
    char *name;                        /* Sync: const after init */
    char *message;                     /* Sync: the completer, then const */
    int origin, signal, exit_code;     /* Sync: the completer, then const */
    _Atomic uint32_t progress_version; /* Sync: atomic; odd while a report is written */
    _Atomic uint64_t progress_done;    /* Sync: atomic, under progress_version */
    _Atomic uint64_t progress_total;   /* Sync: atomic, under progress_version */
};

struct soon__hook;

/* 112 bytes, a size class of jemalloc's. The first two words are the ones
 * that an allocator scribbles over in freed memory, so that a reference
 * dropped too often still finds its count at 0. */
struct soon_future {
    soon_future *next;       /* or, with bit 0 set, its place. Sync: the backend's
                                that has it */
    soon_executor *executor; /* Sync: const after init; NULL for a promise. Points at
                                something while it is not done; with SOON__REMOTE
                                until it is freed; never once it is inherited */
    union {
        struct {
            _Atomic uint32_t state; /* Sync: atomic, see above */
            _Atomic uint32_t refs;  /* Sync: atomic */
        };
        soon__pair state_and_refs; /* both, for soon__finish_queued() */
    };
    soon_fn *fn;                       /* Sync: const after init */
    struct soon__hook *hooks;          /* Sync: its stripe's lock, see callback.h */
    struct soon__extra *_Atomic extra; /* Sync: atomic, set once */
    union {
        struct soon__blob *value; /* if value_len is OUTSIDE. Sync: the completer, then const */
        struct soon__loan *loan;  /* if value_len is LENT. Sync: the completer, then const */
        const soon_future *ahead; /* else: see soon__fetch_ahead(). Sync: const after init */
    };
    int code;          /* Sync: the completer, then const */
    uint8_t arg_len;   /* Sync: const after init */
    uint8_t value_len; /* Sync: the completer, then const */
    int8_t priority;   /* Sync: const after init */
    uint8_t flags;     /* Sync: const after init */
    _Alignas(
        16) unsigned char payload[SOON__PAYLOAD]; /* the argument (or a pointer to its blob), and
                                       at the end the result, each aligned to 16.
                                       Sync: const after init; the completer, then const */
};

_Static_assert(sizeof(struct soon_future) == 112, "a future has outgrown its size class");

/* To make it, or to run it, soon: all that is read then, with an argument of a word, is in
 * two lines wherever it begins. f may be gone. */
static inline void soon__future_fetch(const soon_future *f)
{
    soon__fetch(f);
    soon__fetch(&f->payload[SOON__WORD_ROOM - 1]);
}

/* To take its result soon, too, which may be in a third. */
static inline void soon__future_fetch_all(const soon_future *f)
{
    soon__future_fetch(f);
    soon__fetch(&f->payload[SOON__PAYLOAD - 1]);
}

static inline size_t soon__round16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* memmove() of a word or two, or half of one, as most arguments and results are; false for
 * others. First and last bytes may overlap. */
static inline bool soon__move_word(void *to, const void *from, size_t len)
{
    if (soon__likely(len - sizeof(uint64_t) <= sizeof(uint64_t))) {
        uint64_t first, last;
        memcpy(&first, from, sizeof first);
        memcpy(&last, (const char *)from + len - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy((char *)to + len - sizeof last, &last, sizeof last);
        return true;
    }
    if (soon__likely(len - sizeof(uint32_t) < sizeof(uint32_t))) {
        uint32_t first, last;
        memcpy(&first, from, sizeof first);
        memcpy(&last, (const char *)from + len - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy((char *)to + len - sizeof last, &last, sizeof last);
        return true;
    }
    return false;
}

/* memmove() without a call for those. */
static inline void soon__move(void *to, const void *from, size_t len)
{
    if (!soon__likely(soon__move_word(to, from, len)) && len)
        memmove(to, from, len);
}

/* Up to SOON__PAYLOAD bytes, which do not overlap, without a call for any number. */
static inline void soon__copy_small(void *to, const void *from, size_t len)
{
    enum { STEP = 16 };
    unsigned char *t = to;
    const unsigned char *f = from;

    if (soon__likely(soon__move_word(to, from, len)))
        return;
    if (len > STEP) { /* the last step may overlap the one before */
        for (size_t at = STEP; at < len; at += STEP)
            memcpy(t + at - STEP, f + at - STEP, STEP);
        memcpy(t + len - STEP, f + len - STEP, STEP);
    } else {
        for (size_t at = 0; at < len; at++)
            t[at] = f[at];
    }
}

/* Bytes of payload that the argument takes. */
static inline size_t soon__arg_room(const soon_future *f)
{
    return f->arg_len < SOON__LENT    ? soon__round16(f->arg_len)
           : f->arg_len == SOON__LENT ? soon__round16(sizeof(struct soon__loan))
                                      : 16;
}

/* Where a result of len bytes, at most PAYLOAD, lies. Of none the address is merely
 * not NULL. */
static inline const unsigned char *soon__value_at(const soon_future *f, size_t len)
{
    return f->payload + SOON__PAYLOAD - soon__round16(len);
}

/* The same to write it, if there is room beside the argument, else NULL. */
static inline unsigned char *soon__value_room(soon_future *f, size_t len)
{
    size_t room = SOON__PAYLOAD - soon__arg_room(f);

    return len <= room ? f->payload + SOON__PAYLOAD - soon__round16(len) : NULL;
}

static inline uint32_t soon__state(const soon_future *f)
{
    /* acquire: pairs with the exchange in soon__publish(). */
    return atomic_load_explicit(&f->state, memory_order_acquire);
}

/* Made in another process, of which this one is a fork? */
static inline bool soon__inherited(uint32_t state)
{
    uint32_t birthplace = state >> SOON__BIRTHPLACE_SHIFT;

    return birthplace && birthplace != soon__generation();
}

/* Is it for the backend to say when it begins? (Not of a forked child's.) */
static inline bool soon__is_remote(const soon_future *f)
{
    return (f->flags & (SOON__REMOTE | SOON__SURPLUS)) == SOON__REMOTE;
}

static inline bool soon__pending(uint32_t state)
{
    return (state & (SOON__PHASE | SOON__CLOSING)) == SOON_PENDING;
}

/* ---- future.c: memory ---- */

/* State and references of one that is pending. */
static inline uint64_t soon__fresh(uint32_t birthplace, uint32_t refs)
{
    return (uint64_t)refs << 32 | birthplace << SOON__BIRTHPLACE_SHIFT | SOON_PENDING;
}

static inline void soon__future_start(soon_future *f, uint64_t fresh)
{
#if SOON__PAIRED
    atomic_init(&f->state_and_refs, fresh);
#else
    atomic_init(&f->state, (uint32_t)fresh);
    atomic_init(&f->refs, (uint32_t)(fresh >> 32));
#endif
}

/* A pending future with one reference, or NULL. */
soon_future *soon__future_new(void);
static inline void soon__future_init(soon_future *f)
{
    /* Not the payload: it is written before it is read. */
    memset(f, 0, offsetof(soon_future, payload));
    atomic_init(&f->refs, 1);
}

/* One reference more on an f that nobody else knows yet. */
static inline void soon__future_ref_first(soon_future *f)
{
    /* relaxed, both: handing f over publishes it. */
    uint32_t refs = atomic_load_explicit(&f->refs, memory_order_relaxed);
    atomic_store_explicit(&f->refs, refs + 1, memory_order_relaxed);
}

/* The last n references are gone, or before, of which there were, is fewer. */
void soon__future_end(soon_future *f, uint32_t before, uint32_t n);

/* Drops n references at once. */
static inline void soon__future_drop(soon_future *f, uint32_t n)
{
    /* acquire: everybody's use of f comes before its end; pairs with the
     * release of those who dropped theirs. Where the caller's are all that is
     * left nobody can take or drop one any more. */
    uint32_t before = atomic_load_explicit(&f->refs, memory_order_acquire);

    if (before == n)
        /* relaxed: kept for the misuse of a freed future to be found. */
        atomic_store_explicit(&f->refs, 0, memory_order_relaxed);
    else
        /* acq_rel: as above, and pairs with it. */
        before = atomic_fetch_sub_explicit(&f->refs, n, memory_order_acq_rel);
    if (before <= n)
        soon__future_end(f, before, n);
}

struct soon__blob *soon__blob_new(size_t len);
void soon__blob_free(struct soon__blob *blob);

/* Copies the argument in: 0 or -ENOMEM. */
int soon__future_set_arg(soon_future *f, const void *arg, size_t len);

/* Copies it to where the backend of f keeps it; false: it does not. */
bool soon__future_place_arg(soon_future *f, const void *arg, size_t len);

/* Gives such an argument back, for who completes f, or as it is freed. */
void soon__future_return_arg(soon_future *f);

const void *soon__future_arg_outside(const soon_future *f, size_t *len);
const void *soon__future_value_outside(const soon_future *f, size_t *len);

static inline const void *soon__future_arg(const soon_future *f, size_t *len)
{
    if (soon__unlikely(f->arg_len >= SOON__LENT))
        return soon__future_arg_outside(f, len);
    *len = f->arg_len;
    return *len ? f->payload : NULL;
}

static inline const void *soon__future_value(const soon_future *f, size_t *len)
{
    if (soon__unlikely(f->value_len >= SOON__LENT))
        return soon__future_value_outside(f, len);
    *len = f->value_len;
    return soon__value_at(f, *len);
}

/* Bytes that f has held outside itself since it was submitted, for the figures. */
size_t soon__future_outside(const soon_future *f);

/* f->extra, made if there is none yet; NULL without memory. Any thread. */
struct soon__extra *soon__future_extra(soon_future *f);

void soon__extra_free(struct soon__extra *extra);

/* ---- transition.c: the state word ---- */

/* PENDING -> RUNNING, for a promise side. True if this call made it. Never waits. */
bool soon__claim(soon_future *f);

/* Wins the right to complete f: from PENDING, or from RUNNING as far as
 * allowed says (SOON__CALL in it: also while a call runs). On success *from
 * is the state before. 0, -EALREADY, -EBUSY. With a remote backend it waits
 * for a recall that is under way. */
int soon__close(soon_future *f, uint32_t allowed, uint32_t *from);

/* The same for who is not the backend of a remote f: takes it back from there
 * first; -EBUSY if it has begun. */
int soon__close_foreign(soon_future *f, uint32_t *from);

enum soon__outcome { SOON__FINISHED, SOON__FAILED, SOON__CANCELLED, SOON__TIMED_OUT };

/* Completes f, by the one thread that may: counts, publishes, wakes and calls
 * back. started: it had been running. */
void soon__settle(soon_future *f, enum soon__outcome outcome, bool started);

/* The same for what a call returned. */
static inline void soon__settle_call(soon_future *f, int code)
{
    soon__settle(f, code ? SOON__FAILED : SOON__FINISHED, true);
}

/* The same for a closed f that ran past its timeout. */
void soon__settle_late(soon_future *f);

/* Sleeps until f is done, at most until deadline: 0 or -ETIMEDOUT. The raw
 * thing: runs nothing in place and looks for no deadlock. */
int soon__sleep(soon_future *f, soon_ns deadline);

/* ---- run.c ---- */

/* soon_future_run() by a waiting worker, which takes f out of turn. */
bool soon__run_in_place(soon_future *f);

#endif
