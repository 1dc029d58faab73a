/* SPDX-License-Identifier: MIT */
/*
 * What an as_completed iterator knows of its futures, and finds them by: a chained
 * hash table, which makes duplicates one.
 */
#ifndef SOON_CORE_ENTRY_TABLE_H
#define SOON_CORE_ENTRY_TABLE_H

#include <soon/wait.h>

#include "core/callback.h"

/* Sync: lock is the iterator's. */
struct soon__entry {
    struct soon__hook hook;    /* first: fire() gets its address */
    soon_as_completed *it;     /* Sync: const */
    soon_future *future;       /* Sync: const; a reference */
    struct soon__entry *chain; /* in its bucket. Sync: lock */
    struct soon__entry *next;  /* waiting or ready. Sync: lock */
    struct soon__entry *prev;  /* waiting. Sync: lock */
    bool fired;                /* ready. Sync: lock */
    bool out;                  /* and not in the table but by its link. Sync: lock */
    bool alone;                /* not one of a piece. Sync: const */
};

/* The most that an iterator asks for in one piece, but for a list of such pieces. An allocator
 * keeps what was freed in such pieces for the next iterator. What was freed in larger ones jemalloc
 * joins with what lies beside it, and what is then more than 8 MiB it gives back to the kernel,
 * which takes longer to clear it again than all the rest takes. */
enum { SOON__ENTRIES_MAX = 12288 };

enum { SOON__SECTION = 1024 }; /* buckets in a piece */

_Static_assert(SOON__SECTION * sizeof(void *) <= SOON__ENTRIES_MAX, "a section is too large");

/* Sync: the iterator's lock. */
struct soon__entry_table {
    struct soon__entry ***sections; /* each of as many, or of all if these are fewer */
    size_t mask;                    /* buckets - 1 */
    size_t count;                   /* entries that are not out */
};

/* Makes room for n entries: false without memory, and then nothing has changed. Before the
 * first time there is no table. */
bool soon__entry_table_grow(struct soon__entry_table *table, size_t n);
void soon__entry_table_free(struct soon__entry_table *table);

/* Where f's entry would be, to be fetched. */
static inline struct soon__entry **soon__entry_bucket(const struct soon__entry_table *table,
                                                      const soon_future *f)
{
    uint64_t hash = ((uint64_t)(uintptr_t)f >> 4) * 0x9E3779B97F4A7C15u;

    size_t i = hash >> 20 & table->mask;
    return &table->sections[i / SOON__SECTION][i % SOON__SECTION];
}

/* Is there an entry for f that is not out? */
static inline bool soon__entry_find(const struct soon__entry_table *table, const soon_future *f)
{
    for (struct soon__entry *e = *soon__entry_bucket(table, f); e; e = e->chain)
        if (e->future == f && !e->out)
            return true;
    return false;
}

/* For a future that has none. */
void soon__entry_put(struct soon__entry_table *table, struct soon__entry *e);

/* It is out. One of a piece keeps its link, as it keeps its memory. */
void soon__entry_take_out(struct soon__entry_table *table, struct soon__entry *e);

#endif
