/* SPDX-License-Identifier: MIT */
/*
 * A backend with SOON_BACKEND_REMOTE, through <soon/backend.h> alone. Its
 * workers are threads that behave as another process would: they begin tasks
 * without a word to the library, by a swap in a slot, and say what became of
 * them only afterwards. Operated by hand, or by threads of its own.
 *
 *     queue --handed out--> slot QUEUED --far_begin()--> TAKEN --far_end()--> done
 *                                \--recall--> FREE
 */
#ifndef SOON_T_FAR_H
#define SOON_T_FAR_H

#include "support.h"

#include <soon/backend.h>

enum { FAR_SLOTS = 8, FAR_ROOM = 64, FAR_THREADS = 4 };

enum far_state { FAR_FREE, FAR_QUEUED, FAR_TAKEN };

/* What a call, or a test in its place, says of itself. */
struct far_slot {
    struct soon_port port;            /* first */
    _Atomic int state;                /* enum far_state. Sync: atomic */
    soon_future *future;              /* a reference. Sync: far.lock; who has taken it reads */
    bool asked;                       /* Sync: far.lock */
    bool reported;                    /* Sync: far.lock */
    uint64_t done, total;             /* Sync: far.lock */
    _Alignas(16) char room[FAR_ROOM]; /* Sync: who has taken it */
};

struct far {
    soon_executor base; /* first: an executor is one of these */
    pthread_mutex_t lock;
    struct soon_task_queue queue; /* Sync: lock */
    struct far_slot slot[FAR_SLOTS];
    bool closed;        /* Sync: lock */
    bool tell_next;     /* look(NULL) came: the next begin is told. Sync: lock */
    bool hand_out;      /* false: everything stays in the queue. Sync: lock */
    atomic_int refusal; /* what submit answers; 0: it accepts */
    atomic_bool gated;  /* recall rings recalling and passes answer first */
    struct bell recalling;
    struct gate answer;
    atomic_long fail_buffer;        /* that many buffers from now one can't be had; 0: off */
    _Atomic(void *) last_unbuffer;  /* only compared */
    atomic_uint buffers, unbuffers; /* calls of the port's that succeeded */
    atomic_int live;                /* buffers that are not freed */
    void *forged;                   /* memory of far_forge(). Sync: who answers, then the test */
    size_t forged_size;
    atomic_uint looks, recalls, recalled, asks, kills, finds; /* calls; recalls that were true */
    atomic_uint withdrawn, given_back, destroyed;             /* calls */
    _Atomic(void *) last_given_back;                          /* only compared */
    atomic_size_t largest;                                    /* argument submitted */
    atomic_uint chunks;                                       /* tasks submitted by maps */

    pthread_t thread[FAR_THREADS];
    unsigned n_threads; /* Sync: the test's thread */
    atomic_bool stop;
    struct bell work;
};

/* The one of a test. */
extern struct far far;

/* A function that its workers can't find. */
int task_unknown(soon_call *call, const void *arg, size_t arg_len);

/* All of its operations. */
extern const struct soon_executor_ops far_ops;

/* Makes it; its executor. */
soon_executor *far_open(size_t max_pending, int overflow);

/* Some worker begins the next task that was handed out: its slot, or NULL. */
struct far_slot *far_begin(void);

/* It calls the function, and the future is done after this. */
void far_end(struct far_slot *slot);

/* The same with a result made up by the test, copied into memory that ends
 * where nobody may read on, and lent from there. */
void far_forge(struct far_slot *slot, const void *value, size_t len);

/* Lends value with a token, and gives the slot up: what the library says. */
int far_lend(struct far_slot *slot, const void *value, size_t len, void *token);

/* Both, until there is none; how many. */
unsigned far_run(void);

/* Threads that do so from now on, until the shutdown is waited for. */
void far_start(unsigned n);

/* Shuts down, drops the reference, and checks that everything given was given
 * back and that it was destroyed once. Every future must have been freed. */
void far_close(void);

/* Only what the test has of it; for a test that lets it end by itself. */
void far_free(void);

#endif /* SOON_T_FAR_H */
