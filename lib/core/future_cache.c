/* SPDX-License-Identifier: MIT */
#include "core/future_cache.h"

#include "core/mem.h"

#include <pthread.h>

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
    soon__magazine_free(had.loaded, (unsigned)(had.next - had.first));
    soon__magazine_free(had.full, SOON__MAGAZINE);
    soon__depot_trim();
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

/* From here on the magazine with n futures is in use. */
static void load(struct soon__future_cache *cache, struct soon__magazine *magazine, size_t n)
{
    cache->loaded = magazine;
    cache->first = magazine->slot;
    cache->end = magazine->slot + SOON__MAGAZINE;
    cache->next = magazine->slot + n;
}

/* Loads a full magazine, if there is one. */
static bool reload(struct soon__future_cache *cache)
{
    struct soon__magazine *full = cache->full;

    if (!full && (cache->ready || get_ready(cache)))
        full = soon__depot_take_full();
    cache->full = NULL;
    if (!full)
        return false;
    if (cache->loaded)
        soon__depot_give_empty(cache->loaded);
    load(cache, full, SOON__MAGAZINE);
    for (int i = 1; i <= SOON__AHEAD; i++)
        soon__future_fetch(full->slot[SOON__MAGAZINE - i]);
    return true;
}

soon_future *soon__future_alloc_slowly(void)
{
    return reload(&soon__self.futures) ? soon__future_alloc() : soon__alloc(sizeof(soon_future));
}

/* Room for one more in loaded; false: f is to go back to the allocator. */
static bool make_room(struct soon__future_cache *cache)
{
    if (!cache->ready && !get_ready(cache))
        return false;
    struct soon__magazine *empty = soon__depot_take_empty();
    if (!empty)
        return false;
    if (cache->full)
        soon__depot_give_full(cache->full);
    cache->full = cache->loaded;
    load(cache, empty, 0);
    return true;
}

void soon__future_free_slowly(soon_future *f)
{
    if (make_room(&soon__self.futures))
        soon__future_free(f);
    else
        soon__free(f, sizeof *f);
}
