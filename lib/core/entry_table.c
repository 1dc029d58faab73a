/* SPDX-License-Identifier: MIT */
#include "core/entry_table.h"

#include "core/mem.h"

static void link_entry(struct soon__entry_table *table, struct soon__entry *e)
{
    struct soon__entry **bucket = soon__entry_bucket(table, e->future);

    e->chain = *bucket;
    *bucket = e;
}

bool soon__entry_table_grow(struct soon__entry_table *table, size_t n)
{
    struct soon__entry **old = table->buckets;
    size_t before = old ? table->mask + 1 : 0, after = 16;

    while (after < n)
        after *= 2;
    struct soon__entry **buckets = soon__zalloc(after * sizeof *buckets);
    if (!buckets)
        return false;
    table->buckets = buckets;
    table->mask = after - 1;
    for (size_t i = 0; i < before; i++)
        for (struct soon__entry *e = old[i], *next; e; e = next) {
            next = e->chain;
            if (!e->out)
                link_entry(table, e);
        }
    soon__free(old, before * sizeof *old);
    return true;
}

void soon__entry_table_free(struct soon__entry_table *table)
{
    if (table->buckets)
        soon__free(table->buckets, (table->mask + 1) * sizeof *table->buckets);
}

void soon__entry_put(struct soon__entry_table *table, struct soon__entry *e)
{
    if (table->count > table->mask)
        soon__entry_table_grow(table, 4 * table->count); /* else longer chains do */
    link_entry(table, e);
    table->count++;
}

void soon__entry_take_out(struct soon__entry_table *table, struct soon__entry *e)
{
    table->count--;
    e->out = true;
    if (!e->alone)
        return;
    struct soon__entry **link = soon__entry_bucket(table, e->future);
    while (*link != e)
        link = &(*link)->chain;
    *link = e->chain;
}
