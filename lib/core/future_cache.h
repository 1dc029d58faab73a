/* SPDX-License-Identifier: MIT */
/*
 * Memory of futures, kept for reuse.
 *
 * Most futures are freed by another thread than the one that made them, which
 * is what allocators do worst. So each thread keeps two magazines of free
 * futures, and exchanges whole ones with a depot under a lock: one lock for
 * MAGAZINE futures (Bonwick and Adams, "Magazines and Vmem", 2001). What a
 * thread has when it ends goes back to the allocator.
 *
 * A build with a memory checker keeps nothing, so that the checker sees each
 * use after free. Nor does the library that the tests link, if they say so.
 */
#ifndef SOON_CORE_FUTURE_CACHE_H
#define SOON_CORE_FUTURE_CACHE_H

#include "core/depot.h"
#include "core/thread.h"
#include "os/fetch.h"
#include "os/inject.h"

enum { SOON__AHEAD = 3 }; /* futures between the one that is taken and the one that is fetched */

/* With another magazine, or from the allocator. */
soon_future *soon__future_alloc_slowly(void);
void soon__future_free_slowly(soon_future *f);

/* Memory for a future from the magazine in use, where there is some. */
static inline soon_future *soon__future_at_hand(void)
{
    struct soon__future_cache *cache = &soon__self.futures;
    unsigned at = --cache->count;

    if (at >= SOON__AHEAD)
        soon__fetch(cache->loaded->slot[at - SOON__AHEAD]);
    return cache->loaded->slot[at];
}

/* Memory for a future, not initialised, or NULL. */
static inline soon_future *soon__future_alloc(void)
{
    if (!soon__self.futures.count)
        return soon__future_alloc_slowly();
    return soon__inject(SOON__INJECT_ALLOC) ? NULL : soon__future_at_hand();
}

/* f's reference count stays 0 for as long as nobody gets the memory. */
static inline void soon__future_free(soon_future *f)
{
    struct soon__future_cache *cache = &soon__self.futures;

    if (!cache->loaded || cache->count == SOON__MAGAZINE)
        soon__future_free_slowly(f);
    else
        cache->loaded->slot[cache->count++] = f;
}

#ifdef SOON_INJECT
/* Futures come from the allocator and go back there. Sync: set while no other
 * thread uses the library. */
extern bool soon__future_cache_off;

/* Is anything kept, by that and by how the library was built? */
bool soon__future_cache_keeps(void);
#endif

#endif
