/* SPDX-License-Identifier: MIT */
/*
 * The steps of a submit, for its several ways: see submit.c.
 */
#ifndef SOON_CORE_SUBMIT_H
#define SOON_CORE_SUBMIT_H

#include "core/executor.h"
#include "core/future.h"

/* Is it a task that may be submitted, as far as can be said without an executor? */
bool soon__task_valid(const soon_task *task);

/* Could a worker find the function? 0, or -ENOENT and the reason is kept. */
int soon__find_function(soon_executor *ex, soon_fn *fn);

/* A chain of futures on its way in, each with one reference. */
struct soon__chain {
    soon_future *head, *tail;
    size_t n;
    uint64_t bytes_in, held;
};

static inline void soon__chain_link(struct soon__chain *chain, soon_future *f)
{
    if (chain->tail)
        chain->tail->next = f;
    else
        chain->head = f;
    chain->tail = f;
    chain->n++;
}

/* The same, with its bytes. */
void soon__chain_add(struct soon__chain *chain, soon_future *f);

/* Hands a chain in, all or nothing. */
int soon__send(soon_executor *ex, struct soon__chain *chain, unsigned flags, soon_ns deadline);

/* What a plain task's future is before it is handed in. */
static inline void soon__init_plain(soon_future *f, soon_executor *ex, soon_fn *fn, const void *arg,
                                    size_t arg_len, uint8_t flags, uint32_t refs)
{
    uint32_t birthplace = ex->core->birthplace << SOON__BIRTHPLACE_SHIFT;

    memset(&f->hooks, 0, offsetof(soon_future, payload) - offsetof(soon_future, hooks));
    f->next = NULL;
    f->executor = ex;
    f->fn = fn;
    if (flags)
        f->flags = flags;
    f->arg_len = (uint8_t)arg_len;
    soon__copy_small(f->payload, arg, arg_len);
    atomic_init(&f->state, SOON_PENDING | birthplace);
    atomic_init(&f->refs, refs);
}

#endif
