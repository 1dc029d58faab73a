/* SPDX-License-Identifier: MIT */
#include "core/future_cache.h"

#include "core/mem.h"
#include "os/lock.h"

#include <pthread.h>

enum { DEPOT_MAX = 256 }; /* magazines; 1.8 MB */

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
 * A stack of full magazines. The first future of each leads to the next one
 * by its executor member. */

static struct {
    soon__lock lock;
    soon_future *magazines; /* Sync: lock */
    unsigned count;         /* Sync: lock */
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

static soon_future *take_magazine(void)
{
    soon__lock_acquire(&depot.lock);
    soon_future *magazine = depot.magazines;
    if (magazine) {
        depot.magazines = (soon_future *)magazine->executor;
        depot.count--;
    }
    soon__lock_release(&depot.lock);
    return magazine;
}

static bool give_magazine(soon_future *magazine)
{
    soon__lock_acquire(&depot.lock);
    bool room = depot.count < DEPOT_MAX;
    if (room) {
        magazine->executor = (soon_executor *)depot.magazines;
        depot.magazines = magazine;
        depot.count++;
    }
    soon__lock_release(&depot.lock);
    return room;
}

static void free_all(soon_future *f)
{
    while (f) {
        soon_future *next = f->next;
        soon__free(f, sizeof *f);
        f = next;
    }
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
    soon_future *loaded = cache->loaded, *full = cache->full;

    *cache = (struct soon__future_cache){.loaded = NULL};
    free_all(loaded);
    free_all(full);
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

static void load(struct soon__future_cache *cache, soon_future *magazine)
{
    cache->loaded = magazine;
    cache->count = magazine ? SOON__MAGAZINE : 0;
}

static void reload(struct soon__future_cache *cache)
{
    if (cache->full) {
        load(cache, cache->full);
        cache->full = NULL;
    } else if (cache->ready || get_ready(cache)) {
        load(cache, take_magazine());
    }
}

soon_future *soon__future_alloc_slowly(void)
{
    struct soon__future_cache *cache = &soon__self.futures;

    reload(cache);
    return cache->loaded ? soon__future_alloc() : soon__alloc(sizeof(soon_future));
}

/* Room for one more in loaded; false: f is to go back to the allocator. */
static bool make_room(struct soon__future_cache *cache)
{
    if (!cache->ready)
        return get_ready(cache);
    if (cache->full && !give_magazine(cache->full))
        free_all(cache->full);
    cache->full = cache->loaded;
    load(cache, NULL);
    return true;
}

void soon__future_free_slowly(soon_future *f)
{
    if (make_room(&soon__self.futures))
        soon__future_free(f);
    else
        soon__free(f, sizeof *f);
}
