/* SPDX-License-Identifier: MIT */
#include "core/entry_table.h"

#include "core/mem.h"

#include <string.h>

static void link_entry(struct soon__entry_table *table, struct soon__entry *e)
{
    struct soon__entry **bucket = soon__entry_bucket(table, e->future);

    e->chain = *bucket;
    *bucket = e;
}

/* Buckets in each section of a table of so many. */
static size_t section_of(size_t buckets)
{
    return buckets < SOON__SECTION ? buckets : SOON__SECTION;
}

static void free_sections(struct soon__entry ***sections, size_t buckets)
{
    size_t each = section_of(buckets), n = buckets ? buckets / each : 0;

    for (size_t i = 0; i < n && sections[i]; i++)
        soon__free(sections[i], each * sizeof *sections[i]);
    soon__free(sections, n * sizeof *sections);
}

/* Empty ones. Cleared here: for much memory jemalloc asks the kernel for pages that are
 * clear, which takes longer, and interrupts what other threads do. */
static struct soon__entry ***new_sections(size_t buckets)
{
    size_t each = section_of(buckets), n = buckets / each;
    struct soon__entry ***sections = soon__zalloc(n * sizeof *sections);

    for (size_t i = 0; i < n && sections; i++) {
        sections[i] = soon__alloc(each * sizeof *sections[i]);
        if (sections[i]) {
            memset(sections[i], 0, each * sizeof *sections[i]);
        } else {
            free_sections(sections, buckets);
            sections = NULL;
        }
    }
    return sections;
}

static void link_all(struct soon__entry_table *table, struct soon__entry *e)
{
    for (struct soon__entry *next; e; e = next) {
        next = e->chain;
        if (!e->out)
            link_entry(table, e);
    }
}

bool soon__entry_table_grow(struct soon__entry_table *table, size_t n)
{
    const struct soon__entry_table old = *table;
    size_t before = old.sections ? old.mask + 1 : 0, after = 16;

    while (after < n)
        after *= 2;
    struct soon__entry ***sections = new_sections(after);
    if (!sections)
        return false;
    table->sections = sections;
    table->mask = after - 1;
    for (size_t i = 0; i < before; i++)
        link_all(table, old.sections[i / SOON__SECTION][i % SOON__SECTION]);
    free_sections(old.sections, before);
    return true;
}

void soon__entry_table_free(struct soon__entry_table *table)
{
    free_sections(table->sections, table->sections ? table->mask + 1 : 0);
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
