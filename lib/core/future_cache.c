/* SPDX-License-Identifier: MIT */
#include "core/future_cache.h"

#include "core/mem.h"
#include "os/lock.h"

#include <pthread.h>

enum { DEPOT_MAX = 2048 }; /* magazines; 14 MiB of futures */

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ ||         \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
enum { CHECKED = true };
#else
enum { CHECKED = false };
#endif

#ifdef SOON_INJECT
bool soon__future_cache_off;

bool soon__future_cache_keeps(void)
{
    return !CHECKED && !soon__future_cache_off;
}
#else
enum { soon__future_cache_off = false };
#endif

/* ---- the depot ----
 *
 * Full magazines, and empty ones to be filled. */

static struct {
    soon__lock lock;
    struct soon__magazine *full, *empty; /* Sync: lock */
    unsigned n_full, n_empty;            /* Sync: lock */
} depot;

void soon__depot_fork_prepare(void)
{
    soon__lock_acquire(&depot.lock);
}

/* In the child too: what was in the depot is as good there. */
void soon__depot_fork_release(void)
{
    soon__lock_release(&depot.lock);
}

static struct soon__magazine *take(struct soon__magazine **stack, unsigned *n)
{
    soon__lock_acquire(&depot.lock);
    struct soon__magazine *magazine = *stack;
    if (magazine) {
        *stack = magazine->next;
        --*n;
    }
    soon__lock_release(&depot.lock);
    return magazine;
}

static bool give(struct soon__magazine **stack, unsigned *n, struct soon__magazine *magazine)
{
    soon__lock_acquire(&depot.lock);
    bool room = *n < DEPOT_MAX;
    if (room) {
        magazine->next = *stack;
        *stack = magazine;
        ++*n;
    }
    soon__lock_release(&depot.lock);
    return room;
}

static void give_empty(struct soon__magazine *magazine)
{
    if (!give(&depot.empty, &depot.n_empty, magazine))
        soon__free_line(magazine, sizeof *magazine);
}

static void free_magazine(struct soon__magazine *magazine, unsigned n)
{
    if (!magazine)
        return;
    while (n)
        soon__free(magazine->slot[--n], sizeof(soon_future));
    soon__free_line(magazine, sizeof *magazine);
}

/* ---- a thread's end ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* Sync: const after once */
static bool has_key;      /* Sync: const after once */

/* Another key's destructor may free futures after this: then the key is set
 * again. */
static void give_back(void *data)
{
    struct soon__future_cache *cache = data;
    struct soon__future_cache had = *cache;

    *cache = (struct soon__future_cache){.loaded = NULL};
    free_magazine(had.loaded, had.count);
    free_magazine(had.full, SOON__MAGAZINE);
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, give_back) == 0;
}

static bool get_ready(struct soon__future_cache *cache)
{
    if (CHECKED || soon__future_cache_off)
        return false;
    pthread_once(&once, make_key);
    cache->ready = has_key && pthread_setspecific(key, cache) == 0;
    return cache->ready;
}

/* ---- the calls ---- */

/* Loads a full magazine, if there is one. */
static bool reload(struct soon__future_cache *cache)
{
    struct soon__magazine *full = cache->full;

    if (!full && (cache->ready || get_ready(cache)))
        full = take(&depot.full, &depot.n_full);
    cache->full = NULL;
    if (!full)
        return false;
    if (cache->loaded)
        give_empty(cache->loaded);
    cache->loaded = full;
    cache->count = SOON__MAGAZINE;
    for (int i = 1; i <= SOON__AHEAD; i++)
        soon__fetch(full->slot[SOON__MAGAZINE - i]);
    return true;
}

soon_future *soon__future_alloc_slowly(void)
{
    return reload(&soon__self.futures) ? soon__future_alloc() : soon__alloc(sizeof(soon_future));
}

static struct soon__magazine *get_empty(void)
{
    struct soon__magazine *magazine = take(&depot.empty, &depot.n_empty);

    return magazine ? magazine : soon__alloc_spare(sizeof *magazine);
}

/* Room for one more in loaded; false: f is to go back to the allocator. */
static bool make_room(struct soon__future_cache *cache)
{
    if (!cache->ready && !get_ready(cache))
        return false;
    struct soon__magazine *empty = get_empty();
    if (!empty)
        return false;
    if (cache->full && !give(&depot.full, &depot.n_full, cache->full))
        free_magazine(cache->full, SOON__MAGAZINE);
    cache->full = cache->loaded;
    cache->loaded = empty;
    cache->count = 0;
    return true;
}

void soon__future_free_slowly(soon_future *f)
{
    if (make_room(&soon__self.futures))
        soon__future_free(f);
    else
        soon__free(f, sizeof *f);
}
