/* SPDX-License-Identifier: MIT */
/*
 * Futures on their way through a backend, for one in a hurry: what links them in
 * chains and what lane they belong to, without a call, and running them. This header
 * is the one part of the core, beside its memory, that a backend may include.
 */
#ifndef SOON_CORE_CHAIN_H
#define SOON_CORE_CHAIN_H

#include <soon/backend.h>

#include "core/future.h"

static inline int soon__future_priority(const soon_future *f)
{
    return f->priority;
}

/* Cuts a chain behind its first future; returns the rest. */
static inline soon_future *soon__cut(soon_future *f)
{
    soon_future *rest = f->next;

    f->next = NULL;
    return rest;
}

/* Puts f, which is in no chain, in front of one. */
static inline soon_future *soon__link(soon_future *f, soon_future *chain)
{
    f->next = chain;
    return f;
}

/* Drops a reference of each. */
static inline void soon__chain_drop(soon_future *chain)
{
    while (chain) {
        soon_future *rest = chain->next;
        soon_future_unref(chain);
        chain = rest;
    }
}

/* soon_future_claim(f) by a worker that has the reference which was the queue's. */
bool soon__claim_next(soon_future *f, bool *plain);

/* soon_future_run_claimed(f) and soon_future_unref(f), if that was plain: often both are
 * one step. */
void soon__run_plain(soon_future *f);

#endif
