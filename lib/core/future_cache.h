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
#include "os/inject.h"

/* Futures between the one that is made or read and the one that is fetched. A line that
 * another CPU has written takes as long as making some of them. */
enum { SOON__AHEAD = 6 };

/* With another magazine, or from the allocator. */
soon_future *soon__future_alloc_slowly(void);
void soon__future_free_slowly(soon_future *f);

/* Is there any in the magazine in use? */
static inline bool soon__future_is_at_hand(void)
{
    return soon__self.futures.next != soon__self.futures.first;
}

/* Memory for a future from there. */
static inline soon_future *soon__future_at_hand(void)
{
    return *--soon__self.futures.next;
}

/* Memory for a future, not initialised, or NULL. */
static inline soon_future *soon__future_alloc(void)
{
    if (soon__unlikely(!soon__future_is_at_hand()))
        return soon__future_alloc_slowly();
    return soon__inject(SOON__INJECT_ALLOC) ? NULL : soon__future_at_hand();
}

/* The memory that the calling thread gets a little later than the future that it gets
 * next, fetched; or NULL. */
static inline const soon_future *soon__future_ahead(void)
{
    const struct soon__future_cache *cache = &soon__self.futures;

    if (soon__unlikely(cache->next - cache->first <= SOON__AHEAD))
        return NULL;
    const soon_future *ahead = cache->next[-1 - SOON__AHEAD];
    soon__future_fetch(ahead);
    return ahead;
}

/* Who takes the result of f takes that of the next one soon, most likely, and those that
 * a thread submits one after the other were in its magazine one after the other. f is
 * done. What is fetched may be another future by now, or none: it is not looked at. */
static inline void soon__fetch_ahead(const soon_future *f)
{
    if (f->ahead)
        soon__future_fetch_all(f->ahead); /* or something else, which does no harm */
}

/* f's reference count stays 0 for as long as nobody gets the memory. */
static inline void soon__future_free(soon_future *f)
{
    struct soon__future_cache *cache = &soon__self.futures;

    if (soon__unlikely(cache->next == cache->end)) /* or there is none */
        soon__future_free_slowly(f);
    else
        *cache->next++ = f;
}

#ifdef SOON_INJECT
/* Futures come from the allocator and go back there. Sync: set while no other
 * thread uses the library. */
extern bool soon__future_cache_off;

/* Is anything kept, by that and by how the library was built? */
bool soon__future_cache_keeps(void);
#endif

#endif
