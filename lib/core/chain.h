/* SPDX-License-Identifier: MIT */
/*
 * Chains of futures on their way into a backend, for one in a hurry: what
 * links them and what lane they belong to, without a call. This header is the
 * one part of the core, beside its memory, that a backend may include.
 */
#ifndef SOON_CORE_CHAIN_H
#define SOON_CORE_CHAIN_H

#include <soon/backend.h>

#include "core/future.h"

/* The reference that came with f goes. */
static inline void soon__drop(soon_future *f)
{
    soon__future_drop(f, 1);
}

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

#endif
