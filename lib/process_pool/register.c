/* SPDX-License-Identifier: MIT */
/*
 * A list that only grows, at its head, by compare-and-swap: who reads it never
 * waits, and a fork at any moment leaves the child a list that works.
 *
 * Who adds an entry has seen that no living one has its name or its function,
 * and the swap succeeds only if those were all there are. That stays true of
 * the older ones because an entry that has been found dead is marked: it does
 * not come back to life when the same object is loaded in the same place again.
 */
#include "process_pool/register.h"

#include "core/mem.h"

#include <errno.h>
#include <string.h>

static struct soon__registered *_Atomic newest; /* Sync: atomic */

struct soon__registered *soon__registered_newest(void)
{
    /* acquire: pairs with the swap in soon_register(). */
    return atomic_load_explicit(&newest, memory_order_acquire);
}

/* ---- life and death ---- */

static bool is_dead(struct soon__registered *entry)
{
    /* relaxed: it leads to nothing else. A name is given away after its owner
     * was marked, and the swap that does so publishes the mark. */
    return atomic_load_explicit(&entry->dead, memory_order_relaxed);
}

bool soon__registered_lives(struct soon__registered *entry)
{
    if (is_dead(entry))
        return false;
    if (!entry->in_object || soon__code_is_loaded(&entry->code))
        return true;
    /* relaxed: see is_dead(). */
    atomic_store_explicit(&entry->dead, true, memory_order_relaxed);
    return false;
}

bool soon__registered_stays(struct soon__registered *entry)
{
    return !is_dead(entry) &&
           (!entry->in_object || soon__code_stays(&entry->code, (uintptr_t)entry->fn));
}

/* ---- looking ---- */

struct soon__registered *soon__registered_name(struct soon__registered *entry, const char *name)
{
    while (entry && (strcmp(entry->name, name) != 0 || !soon__registered_lives(entry)))
        entry = entry->older;
    return entry;
}

struct soon__registered *soon__registered_fn(struct soon__registered *entry, soon_fn *fn)
{
    while (entry && (entry->fn != fn || !soon__registered_lives(entry)))
        entry = entry->older;
    return entry;
}

/* ---- adding ---- */

static struct soon__registered *entry_new(const char *name, size_t len, soon_fn *fn)
{
    struct soon__registered *entry = soon__zalloc(sizeof *entry);

    if (!entry)
        return NULL;
    entry->fn = fn;
    entry->in_object = soon__code_at((uintptr_t)fn, &entry->code);
    memcpy(entry->name, name, len);
    return entry;
}

/* What a list has to say to a new pair: 1 nothing, or what soon_register()
 * returns. */
static int compare(struct soon__registered *list, const char *name, soon_fn *fn)
{
    struct soon__registered *by_name = soon__registered_name(list, name);

    if (by_name)
        return by_name->fn == fn ? 0 : -EEXIST;
    return soon__registered_fn(list, fn) ? -EEXIST : 1;
}

int soon_register(const char *name, soon_fn *fn)
{
    size_t len = name ? strnlen(name, SOON__NAME_MAX + 1) : 0;
    struct soon__registered *seen = soon__registered_newest(), *entry = NULL;
    int answer;

    if (!fn || len == 0 || len > SOON__NAME_MAX)
        return -EINVAL;
    while ((answer = compare(seen, name, fn)) == 1) {
        if (!entry && !(entry = entry_new(name, len, fn)))
            return -ENOMEM;
        entry->older = seen;
        entry->count = seen ? seen->count + 1 : 1;
        /* acq_rel: release pairs with the acquires by which others read the
         * list; acquire, because what has come between is read next. */
        if (atomic_compare_exchange_weak_explicit(&newest, &seen, entry, memory_order_acq_rel,
                                                  memory_order_acquire))
            return 0;
    }
    soon__free(entry, sizeof *entry);
    return answer;
}
