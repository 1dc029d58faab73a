/* SPDX-License-Identifier: MIT */
#include "core/depot.h"

#include "core/mem.h"
#include "os/clock.h"
#include "os/lock.h"

#include <stdatomic.h>

enum {
    KEPT = 2048, /* full magazines that are not given back: 14 MiB of futures */
    MOST = 16384,
    AT_ONCE = 2, /* magazines given back to the allocator by who brings another one */
};

static const soon_ns second = SOON_SECONDS(1);

struct stack {
    struct soon__magazine *top;
    unsigned count;
};

static struct {
    soon__lock lock;
    struct stack full, empty; /* Sync: lock */
    atomic_bool has_full;     /* Sync: atomic, written under lock; a hint */
    unsigned unneeded;        /* full ones that were not taken since looked_at. Sync: lock */
    unsigned surplus;         /* full ones to be given back. Sync: lock */
    soon_ns looked_at;        /* Sync: lock */
    soon_ns used_at;          /* when a full one was last taken or given. Sync: lock */
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

/* ---- under the lock ---- */

static struct soon__magazine *pop(struct stack *stack)
{
    struct soon__magazine *magazine = stack->top;

    if (magazine) {
        stack->top = magazine->next;
        stack->count--;
    }
    return magazine;
}

/* False if there is no room. */
static bool push(struct stack *stack, struct soon__magazine *magazine, unsigned most)
{
    if (stack->count >= most)
        return false;
    magazine->next = stack->top;
    stack->top = magazine;
    stack->count++;
    return true;
}

/* Finds out, once a second, how many nobody has needed in the last one. */
static void look(soon_ns now)
{
    if (depot.full.count < depot.unneeded || now - depot.used_at >= second)
        depot.unneeded = depot.full.count;
    if (now - depot.looked_at < second)
        return;
    depot.surplus = depot.unneeded > KEPT ? depot.unneeded - KEPT : 0;
    depot.unneeded = depot.full.count;
    depot.looked_at = now;
}

/* Up to n magazines that are to be given back; a list. */
static struct soon__magazine *pop_surplus(unsigned n)
{
    struct soon__magazine *list = NULL, *magazine;

    for (; n && depot.surplus; n--, depot.surplus--) {
        if (depot.full.count <= KEPT || !(magazine = pop(&depot.full))) {
            depot.surplus = 0;
            break;
        }
        magazine->next = list;
        list = magazine;
    }
    return list;
}

/* ---- the calls ---- */

void soon__magazine_free(struct soon__magazine *magazine, unsigned n)
{
    if (!magazine)
        return;
    while (n)
        soon__free(magazine->slot[--n], sizeof(soon_future));
    soon__free_line(magazine, sizeof *magazine);
}

/* Gives back what is surplus, up to n magazines; releases the lock. */
static void leave(unsigned n)
{
    struct soon__magazine *surplus = pop_surplus(n);

    /* relaxed: a hint. */
    atomic_store_explicit(&depot.has_full, depot.full.count, memory_order_relaxed);
    soon__lock_release(&depot.lock);
    while (surplus) {
        struct soon__magazine *next = surplus->next;
        soon__magazine_free(surplus, SOON__MAGAZINE);
        surplus = next;
    }
}

/* Who makes the first futures of many comes here for each of them. */
struct soon__magazine *soon__depot_take_full(void)
{
    if (!atomic_load_explicit(&depot.has_full, memory_order_relaxed))
        return NULL;
    soon_ns now = soon__now();
    soon__lock_acquire(&depot.lock);
    look(now);
    depot.used_at = now;
    struct soon__magazine *magazine = pop(&depot.full);
    if (depot.full.count <= KEPT) /* they are needed again */
        depot.surplus = 0;
    leave(0);
    return magazine;
}

void soon__depot_give_full(struct soon__magazine *magazine)
{
    soon_ns now = soon__now();

    soon__lock_acquire(&depot.lock);
    look(now);
    depot.used_at = now;
    bool room = push(&depot.full, magazine, MOST);
    leave(AT_ONCE);
    if (!room)
        soon__magazine_free(magazine, SOON__MAGAZINE);
}

struct soon__magazine *soon__depot_take_empty(void)
{
    soon__lock_acquire(&depot.lock);
    struct soon__magazine *magazine = pop(&depot.empty);
    soon__lock_release(&depot.lock);
    return magazine ? magazine : soon__alloc_spare(sizeof *magazine);
}

void soon__depot_give_empty(struct soon__magazine *magazine)
{
    soon__lock_acquire(&depot.lock);
    bool room = push(&depot.empty, magazine, KEPT);
    soon__lock_release(&depot.lock);
    if (!room)
        soon__free_line(magazine, sizeof *magazine);
}

void soon__depot_trim(void)
{
    soon_ns now = soon__now();

    soon__lock_acquire(&depot.lock);
    look(now);
    leave(MOST);
}

size_t soon__depot_count(void)
{
    soon__lock_acquire(&depot.lock);
    size_t count = (size_t)depot.full.count * SOON__MAGAZINE;
    soon__lock_release(&depot.lock);
    return count;
}
