/* SPDX-License-Identifier: MIT */
/*
 * The steps of a submit, for its several ways: see submit.c.
 */
#ifndef SOON_CORE_SUBMIT_H
#define SOON_CORE_SUBMIT_H

#include "core/executor.h"
#include "core/future.h"
#include "core/future_cache.h"

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

/* Once n are counted: from here on a drain waits for them, and they hold ex: see
 * executor.h. Until submit returns the caller's reference holds it too. */
static inline int soon__enter(soon_executor *ex, size_t n)
{
    if (atomic_load(&ex->core->closed)) {
        soon__unsubmit(ex, n);
        return soon__closed_error(ex->core);
    }
    if (soon__tasks_hold(ex))
        soon__executor_hold_many(ex, n);
    return 0;
}

static inline void soon__leave(soon_executor *ex, size_t n)
{
    soon__unsubmit(ex, n);
    if (soon__tasks_hold(ex))
        while (n--)
            soon_executor_release(ex);
}

static inline void soon__count_bytes(soon_executor *ex, uint64_t in, uint64_t held)
{
    if (in)
        soon__count(ex, &ex->core->tallies, SOON__N_BYTES_IN, in);
    if (held)
        soon__count(ex, &ex->core->tallies, SOON__N_HELD, held);
}

/* What a plain task's future is before it is handed in, without its state and references. */
static inline void soon__fill_plain(soon_future *f, soon_executor *ex, soon_fn *fn, const void *arg,
                                    size_t arg_len)
{
    memset(&f->hooks, 0, offsetof(soon_future, payload) - offsetof(soon_future, hooks));
    f->next = NULL;
    f->executor = ex;
    f->fn = fn;
    f->arg_len = (uint8_t)arg_len;
    soon__copy_small(f->payload, arg, arg_len);
}

static inline void soon__init_plain(soon_future *f, soon_executor *ex, soon_fn *fn, const void *arg,
                                    size_t arg_len, uint8_t flags, uint32_t refs)
{
    soon__fill_plain(f, ex, fn, arg, arg_len);
    f->flags = flags;
    atomic_init(&f->state, (uint32_t)soon__fresh(ex->core->birthplace, 0));
    atomic_init(&f->refs, refs);
}

/* The same, with its memory; or NULL. Whose result is taken one after the other is in the
 * caches: see soon__fetch_ahead(). */
static inline soon_future *soon__make_plain(soon_executor *ex, soon_fn *fn, const void *arg,
                                            size_t arg_len, uint32_t refs)
{
    const soon_future *ahead = soon__future_ahead();
    soon_future *f = soon__future_alloc();

    if (soon__unlikely(!f))
        return NULL;
    soon__init_plain(f, ex, fn, arg, arg_len, ex->core->future_flags, refs);
    f->ahead = ahead;
    return f;
}

#endif
