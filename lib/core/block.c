/* SPDX-License-Identifier: MIT */
#include "core/block.h"

#include "core/executor.h"
#include "os/lock.h"

#include <errno.h>
#include <string.h>

enum { BUCKETS = 1024 };

static soon__lock lock;
static soon_call *table[BUCKETS]; /* calls of sleeping threads, by future. Sync: lock */
static uint64_t searches;         /* Sync: lock */

void soon__blocked_fork_prepare(void)
{
    soon__lock_acquire(&lock);
}

void soon__blocked_fork_parent(void)
{
    soon__lock_release(&lock);
}

void soon__blocked_fork_child(void)
{
    memset(table, 0, sizeof table); /* they stayed in the parent */
    soon__lock_reset(&lock);
}

/* ---- who runs what, among those asleep ---- */

static soon_call **bucket_of(const soon_future *f)
{
    return &table[((uint64_t)(uintptr_t)f >> 4) * 0x9E3779B97F4A7C15u >> 54];
}

static void enter(struct soon__blocked *self)
{
    for (soon_call *call = self->calls; call; call = call->outer) {
        soon_call **bucket = bucket_of(call->future);
        call->sleeper = self;
        call->next_asleep = *bucket;
        *bucket = call;
    }
}

static void leave(struct soon__blocked *self)
{
    for (soon_call *call = self->calls; call; call = call->outer) {
        soon_call **link = bucket_of(call->future);
        while (*link && *link != call)
            link = &(*link)->next_asleep;
        if (*link) /* in a forked child the table is empty */
            *link = call->next_asleep;
    }
}

/* The sleeping thread that runs f, or NULL. */
static struct soon__blocked *sleeper_of(const soon_future *f)
{
    if (!(soon__state(f) & SOON__CALL))
        return NULL;
    for (soon_call *call = *bucket_of(f); call; call = call->next_asleep)
        if (call->future == f)
            return call->sleeper;
    return NULL;
}

/* ---- the search ----
 *
 * The greatest set of sleepers none of which anything outside the set can
 * wake: assume all that are reached from the first to be stuck, then clear
 * those that are not, until nothing changes. Those reached last are looked at
 * first, so that a chain takes one pass. */

struct search {
    struct soon__blocked *last; /* reached; the others follow */
    struct soon__blocked *at;   /* the one being looked at */
    bool stuck;                 /* what it turns out to be */
};

static void reach(struct search *search, struct soon__blocked *s)
{
    if (s->search == searches)
        return;
    s->search = searches;
    s->stuck = true;
    s->reached = search->last;
    search->last = s;
}

static bool look_further(const soon_future *f, void *data)
{
    struct soon__blocked *s = sleeper_of(f);

    if (s)
        reach(data, s);
    return true;
}

/* One that needs any is stuck if all that it awaits is; one that needs all,
 * if any is. What is done is awaited no more. */
static bool look_if_stuck(const soon_future *f, void *data)
{
    struct search *search = data;
    struct soon__blocked *s = sleeper_of(f);

    if (soon_future_done(f))
        return true;
    search->stuck = s && s->stuck;
    return search->stuck == search->at->any;
}

static bool is_stuck(struct search *search, struct soon__blocked *s)
{
    search->at = s;
    search->stuck = false;
    return s->each(s->set, look_if_stuck, search) && search->stuck;
}

static bool deadlocked(struct soon__blocked *self)
{
    struct search search = {.last = NULL};

    searches++;
    reach(&search, self);
    /* reach() puts what it finds in front: look until nothing is added. */
    for (struct soon__blocked *done = NULL, *s; (s = search.last) != done;) {
        struct soon__blocked *from = s;
        for (; s != done; s = s->reached)
            s->each(s->set, look_further, &search);
        done = from;
    }
    for (bool changed = true; changed && self->stuck;) {
        changed = false;
        for (struct soon__blocked *s = search.last; s; s = s->reached)
            if (s->stuck && !is_stuck(&search, s)) {
                s->stuck = false;
                changed = true;
            }
    }
    return self->stuck;
}

/* ---- going to sleep ---- */

void soon__blocking(bool begin)
{
    soon_executor *ex = soon__self.worker_of;

    /* In a forked child the worker's pool stayed behind, and its lock as it was. */
    if (ex && ex->ops->blocking && !soon_executor_inherited(ex))
        ex->ops->blocking(ex, begin);
}

int soon__block(struct soon__blocked *self)
{
    soon_flush_callbacks();
    self->calls = soon__self.call;
    self->search = 0;
    if (self->calls) {
        soon__lock_acquire(&lock);
        enter(self);
        bool deadlock = deadlocked(self);
        if (deadlock)
            leave(self);
        soon__lock_release(&lock);
        if (deadlock)
            return -EDEADLK;
    }
    soon__blocking(true);
    return 0;
}

void soon__unblock(struct soon__blocked *self)
{
    soon__blocking(false);
    if (!self->calls)
        return;
    soon__lock_acquire(&lock);
    leave(self);
    soon__lock_release(&lock);
}
