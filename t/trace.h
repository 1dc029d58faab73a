/* SPDX-License-Identifier: MIT */
/* What the programs that test callbacks share. */
#ifndef SOON_T_TRACE_H
#define SOON_T_TRACE_H

#include "support.h"

/* What callbacks saw, in the order they ran. Touched by one thread at a time. */
struct trace {
    unsigned used;
    int tag[64];
    enum soon_state state;
    pthread_t thread;
};

struct entry {
    struct trace *trace;
    int tag;
};

/* A callback whose data is a struct entry. */
void record(soon_future *f, void *data);

/* Adds record() for entry. */
void trace_add(soon_future *f, struct entry *entry);

/* The callbacks that have run so far are these, in this order. */
void assert_trace(const struct trace *trace, const int *tags, unsigned n);

/* The three ways in which a future gets done: with a result, with an error,
 * cancelled. For any thread; data is the future. */
enum { ENDS = 3 };
extern void (*const ends[ENDS])(void *data);

#endif /* SOON_T_TRACE_H */
