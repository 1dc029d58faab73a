/* SPDX-License-Identifier: MIT */
/*
 * The store: large arguments, written once, by who submits them, to where every
 * worker of the pool reads them.
 *
 * An argument is kept until its task is done, since a task that has not begun
 * when its worker dies is given to another. Elsewhere there are two copies of
 * it for that: one that no worker can write to, and one in the channel. The
 * store is a file that is sealed against all writing but through the mapping
 * that the pool has of it, so here one copy is both.
 *
 * It is used in blocks, from the lowest free ones on, so that what is warm is
 * used again, and given to another task when the worker can't read them any more:
 * when it is done, or gone. A worker gets the file with the first task that needs
 * it.
 */
#include "process_pool/pool.h"

#include "os/own_fd.h"
#include "os/shm.h"

#include <unistd.h>

enum { STORE_MIN = 16 << 10 }; /* shorter arguments are copied twice */

static uint64_t run_of(size_t first, size_t n)
{
    return (n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX) << first;
}

static size_t blocks_for(size_t len)
{
    return (len + SOON__BLOCK - 1) / SOON__BLOCK;
}

/* ---- making it ---- */

/* Mapped before it is sealed, and not there in children that the program forks. */
static unsigned char *make(int *fd)
{
    *fd = soon__shm_new_open("soon-store", SOON__STORE_SIZE);
    if (*fd < 0)
        return NULL;
    unsigned char *base =
        soon__shm_map(*fd, 0, SOON__STORE_SIZE, SOON__SHM_WRITE | SOON__SHM_PRIVATE);
    if (base && soon__shm_seal_for_others(*fd) == 0) {
        soon__own_fd(*fd);
        return base;
    }
    if (base)
        soon__shm_unmap(base, SOON__STORE_SIZE);
    close(*fd);
    *fd = -1;
    return NULL;
}

/* One try: where it fails, arguments go the other ways. */
static unsigned char *open_store(struct pool *pool)
{
    struct store *store = &pool->store;

    soon__lock_acquire(&pool->lock);
    if (!store->tried)
        /* release: pairs with the acquires below. */
        atomic_store_explicit(&store->base, make(&store->fd), memory_order_release);
    store->tried = true;
    /* relaxed: under the lock. */
    unsigned char *base = atomic_load_explicit(&store->base, memory_order_relaxed);
    soon__lock_release(&pool->lock);
    return base;
}

static unsigned char *base_of(const struct store *store)
{
    /* acquire: pairs with the release in open_store(). */
    return atomic_load_explicit(&store->base, memory_order_acquire);
}

void soon__store_close(struct store *store)
{
    if (!base_of(store))
        return;
    soon__shm_unmap(base_of(store), SOON__STORE_SIZE);
    soon__own_fd_close(store->fd);
}

/* ---- blocks ---- */

/* The lowest run of n free blocks in a word: its number, or -1. */
static int take_run(_Atomic uint64_t *word, size_t n)
{
    /* relaxed: whoever wins the swap knows what was free. */
    uint64_t used = atomic_load_explicit(word, memory_order_relaxed);

    for (size_t first = 0; first + n <= 64; first++)
        while (!(used & run_of(first, n)))
            /* acquire: reads by who had them before come before; pairs with
             * the release in give_back. */
            if (atomic_compare_exchange_weak_explicit(word, &used, used | run_of(first, n),
                                                      memory_order_acquire, memory_order_relaxed))
                return (int)first;
    return -1;
}

void *soon__op_room(soon_executor *ex, size_t len, void **token)
{
    struct pool *pool = (struct pool *)ex;
    struct store *store = &pool->store;
    size_t n = blocks_for(len);

    /* A worker's bound on its memory is for its tasks. */
    if (len < STORE_MIN || len > SOON__SLAB_MAX || pool->worker_memory)
        return NULL;
    unsigned char *base = base_of(store) ? base_of(store) : open_store(pool);
    for (size_t i = 0; base && i < STORE_WORDS; i++) {
        int first = take_run(&store->used[i], n);
        if (first < 0)
            continue;
        /* relaxed: a figure. */
        atomic_fetch_or_explicit(&store->touched[i], run_of((size_t)first, n),
                                 memory_order_relaxed);
        *token = store;
        return base + (64 * i + (size_t)first) * SOON__BLOCK;
    }
    return NULL;
}

void soon__store_give_back(struct store *store, const void *at, size_t len)
{
    size_t block = soon__store_offset(store, at) / SOON__BLOCK;

    /* release: pairs with the acquire in take_run(). */
    atomic_fetch_and_explicit(&store->used[block / 64], ~run_of(block % 64, blocks_for(len)),
                              memory_order_release);
}

/* ---- what is there ---- */

bool soon__store_has(const struct store *store, const void *at)
{
    uintptr_t base = (uintptr_t)base_of(store);

    return base && (uintptr_t)at - base < SOON__STORE_SIZE;
}

uint32_t soon__store_offset(const struct store *store, const void *at)
{
    return (uint32_t)((const unsigned char *)at - base_of(store));
}

size_t soon__store_memory(const struct store *store)
{
    size_t blocks = 0;

    for (size_t i = 0; i < STORE_WORDS; i++)
        /* relaxed: a figure. */
        blocks += (size_t)__builtin_popcountll(
            atomic_load_explicit(&store->touched[i], memory_order_relaxed));
    return blocks * SOON__BLOCK;
}
