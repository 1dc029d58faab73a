/* SPDX-License-Identifier: MIT */
/*
 * Where threads exchange magazines of free futures: see future_cache.h.
 *
 * The depot keeps what bursts of tasks need, up to a million futures, for as
 * long as they come. Full magazines that nobody has needed for a second are
 * given back to the allocator, but for a base of 14 MiB; little by little by
 * those who bring others, and the rest by a thread that ends. There is no
 * thread or timer for that: a program that has come to rest keeps what it had,
 * like the allocator's own caches. (Bonwick and Adams, "Magazines and Vmem",
 * 2001, call what was not needed the depot's reapable part.)
 */
#ifndef SOON_CORE_DEPOT_H
#define SOON_CORE_DEPOT_H

#include "core/future.h"

enum { SOON__MAGAZINE = 63 };

/* 512 bytes. */
struct soon__magazine {
    struct soon__magazine *next;       /* in the depot. Sync: its lock */
    soon_future *slot[SOON__MAGAZINE]; /* Sync: whose it is */
};

/* A full magazine, or NULL. */
struct soon__magazine *soon__depot_take_full(void);

/* An empty one, from the depot or the allocator; NULL without memory. */
struct soon__magazine *soon__depot_take_empty(void);

void soon__depot_give_full(struct soon__magazine *magazine);
void soon__depot_give_empty(struct soon__magazine *magazine);

/* Gives a magazine, or NULL, and the first n futures in it to the allocator. */
void soon__magazine_free(struct soon__magazine *magazine, unsigned n);

/* Gives back all that has not been needed. */
void soon__depot_trim(void);

/* Futures in the depot: for tests. */
size_t soon__depot_count(void);

/* Around a fork. */
void soon__depot_fork_prepare(void);
void soon__depot_fork_release(void);

#endif
