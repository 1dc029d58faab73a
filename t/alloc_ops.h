/* SPDX-License-Identifier: MIT */
/*
 * Calls of the library as operations that can be tried again and again, each
 * time with something else failing, and what they work on.
 */
#ifndef SOON_T_ALLOC_OPS_H
#define SOON_T_ALLOC_OPS_H

#include "support.h"

enum { MANY = 40, LARGE = 5000 };

/* New for each injected failure. */
struct scene {
    soon_executor *pool, *loop, *inline_one;
    soon_future *done[MANY]; /* promises that are kept, all different */
    soon_future *pending;    /* a promise that is not */
    soon_as_completed *it;   /* empty */
    shared_count called;     /* by callbacks */
    unsigned accepted;       /* callbacks that were */
    unsigned char bytes[LARGE];
};

extern struct scene scene;

/* A callback that counts its calls. */
void count_call(soon_future *f, void *data);

/* Counts it as accepted if adding it gave no error; gives that. */
int count_accepted(int error);

/* What an operation cannot do without, so that it has to fail there. */
enum {
    NEEDS_MEMORY = 1,
    NEEDS_THREAD = 2,
    NEEDS_DESCRIPTOR = 4, /* one */
};

struct op {
    const char *name;
    int (*run)(void); /* 0, or the error of the call that failed, which changed nothing */
    unsigned needs;
};

enum { OPS = 28 };
extern const struct op ops[OPS];

#endif /* SOON_T_ALLOC_OPS_H */
