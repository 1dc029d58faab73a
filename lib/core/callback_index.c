/* SPDX-License-Identifier: MIT */
/*
 * Buckets are doubly linked and append at the tail, so that equal callbacks
 * stay in the order added, through growth too, and each unlinks in constant
 * time. An index that can't grow for want of memory goes on with longer
 * chains.
 */
#include "core/callback_index.h"

#include "core/mem.h"

static size_t hash(const soon_future *f, soon_done_fn *fn, const void *data)
{
    uint64_t h = (uint64_t)(uintptr_t)f;

    h = (h ^ (uint64_t)(uintptr_t)fn) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ (uint64_t)(uintptr_t)data) * 0xD6E8FEB86659FD93u;
    return (size_t)(h ^ h >> 32);
}

static struct soon__callback_bucket *bucket_of(struct soon__callback_index *index,
                                               const struct soon__callback *cb)
{
    return &index->buckets[hash(cb->future, cb->fn, cb->data) & index->mask];
}

static void append(struct soon__callback_bucket *bucket, struct soon__callback *cb)
{
    cb->next = NULL;
    cb->prev = bucket->tail;
    if (bucket->tail)
        bucket->tail->next = cb;
    else
        bucket->head = cb;
    bucket->tail = cb;
}

static void grow(struct soon__callback_index *index)
{
    struct soon__callback_bucket *old = index->buckets;
    size_t count = index->mask + 1, more = count * 4;
    struct soon__callback_bucket *buckets = soon__zalloc(more * sizeof *buckets);

    if (!buckets)
        return;
    index->buckets = buckets;
    index->mask = more - 1;
    for (size_t i = 0; i < count; i++)
        for (struct soon__callback *cb = old[i].head, *next; cb; cb = next) {
            next = cb->next;
            append(bucket_of(index, cb), cb);
        }
    if (old != index->first)
        soon__free(old, count * sizeof *old);
}

/* Back to nothing once it is empty again, if it had become large. */
static void shrink(struct soon__callback_index *index)
{
    if (index->buckets != index->first)
        soon__free(index->buckets, (index->mask + 1) * sizeof *index->buckets);
    *index = (struct soon__callback_index){0};
}

void soon__callback_index_add(struct soon__callback_index *index, struct soon__callback *cb)
{
    enum { LOAD = 2 };

    if (!index->buckets)
        index->buckets = index->first;
    if (index->count >= LOAD * (index->mask + 1))
        grow(index);
    append(bucket_of(index, cb), cb);
    index->count++;
}

void soon__callback_index_remove(struct soon__callback_index *index, struct soon__callback *cb)
{
    enum { KEEP = 64 };
    struct soon__callback_bucket *bucket = bucket_of(index, cb);

    *(cb->prev ? &cb->prev->next : &bucket->head) = cb->next;
    *(cb->next ? &cb->next->prev : &bucket->tail) = cb->prev;
    if (--index->count == 0 && index->mask >= KEEP)
        shrink(index);
}

struct soon__callback *soon__callback_index_find(const struct soon__callback_index *index,
                                                 const soon_future *f, soon_done_fn *fn,
                                                 const void *data)
{
    if (!index->buckets)
        return NULL;
    struct soon__callback *cb = index->buckets[hash(f, fn, data) & index->mask].head;
    while (cb && (cb->future != f || cb->fn != fn || cb->data != data))
        cb = cb->next;
    return cb;
}
