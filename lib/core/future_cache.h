/* SPDX-License-Identifier: MIT */
/*
 * Memory of futures, kept for reuse.
 *
 * Most futures are freed by another thread than the one that made them, which
 * is what allocators do worst. So each thread keeps two magazines of free
 * futures, and exchanges whole ones with a depot under a lock: one lock for
 * MAGAZINE futures (Bonwick and Adams, "Magazines and Vmem", 2001). What the
 * depot has no room for goes back to the allocator, and so does what a thread
 * has when it ends.
 *
 * A build with a memory checker keeps nothing, so that the checker sees each
 * use after free. Nor does the library that the tests link, if they say so.
 */
#ifndef SOON_CORE_FUTURE_CACHE_H
#define SOON_CORE_FUTURE_CACHE_H

#include <soon/future.h>

/* Part of a thread's own struct soon__thread. */
struct soon__future_cache {
    soon_future *loaded; /* the magazine in use, linked by next. Sync: thread-local */
    unsigned count;      /* futures in loaded. Sync: thread-local */
    bool ready;          /* its thread will give everything back when it ends. Sync: thread-local */
    soon_future *full;   /* another magazine, or NULL. Sync: thread-local */
};

/* Memory for a future, not initialised, or NULL. */
soon_future *soon__future_alloc(void);

/* f's reference count stays 0 for as long as nobody gets the memory. */
void soon__future_free(soon_future *f);

#ifdef SOON_INJECT
/* Futures come from the allocator and go back there. Sync: set while no other
 * thread uses the library. */
extern bool soon__future_cache_off;

/* Is anything kept, by that and by how the library was built? */
bool soon__future_cache_keeps(void);
#endif

/* Around a fork. */
void soon__depot_fork_prepare(void);
void soon__depot_fork_release(void);

#endif
