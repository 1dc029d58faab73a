/* SPDX-License-Identifier: MIT */
#include "core/block.h"

#include "core/executor.h"
#include "os/lock.h"

#include <errno.h>

static soon__lock lock;
static struct soon__blocked *sleepers; /* Sync: lock */

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
    sleepers = NULL; /* they stayed in the parent */
    soon__lock_reset(&lock);
}

void soon__awaited_add(struct soon__awaited *awaited, const soon_future *f)
{
    uint32_t state = soon__state(f);

    if (state & SOON__DONE)
        return;
    if (!(state & SOON__CALL) || awaited->n == SOON__AWAITED_MAX)
        awaited->open = true; /* somebody may run it yet, or complete it from outside */
    else
        awaited->running[awaited->n++] = (soon_future *)(uintptr_t)f;
}

static struct soon__blocked *sleeping_runner_of(const soon_future *f)
{
    for (struct soon__blocked *s = sleepers; s; s = s->next)
        for (const soon_call *call = s->calls; call; call = call->outer)
            if (call->future == f)
                return s;
    return NULL;
}

/* Can this thread never wake? Sleepers on the path of the search are taken
 * to be stuck: if that assumption carries, nothing outside the path wakes
 * any of them. One that needs any is stuck if all it awaits is; one that
 * needs all, if any is. */
static bool stuck(struct soon__blocked *s)
{
    struct soon__awaited awaited = {.n = 0};
    bool result;

    if (s->on_path)
        return true;
    s->on_path = true;
    s->collect(s->set, &awaited);
    result = s->any && !awaited.open && awaited.n > 0;
    for (size_t i = 0; i < awaited.n && !(s->any && awaited.open); i++) {
        struct soon__blocked *runner = sleeping_runner_of(awaited.running[i]);
        bool never = runner && stuck(runner);
        if (never != s->any) {
            result = never;
            break;
        }
    }
    s->on_path = false;
    return result;
}

void soon__blocking(bool begin)
{
    soon_executor *ex = soon__self.worker_of;

    /* In a forked child the worker's pool stayed behind, and its lock as it was. */
    if (ex && ex->ops->blocking && !soon_executor_inherited(ex))
        ex->ops->blocking(ex, begin);
}

static void enter(struct soon__blocked *self)
{
    self->prev = NULL;
    self->next = sleepers;
    if (sleepers)
        sleepers->prev = self;
    sleepers = self;
}

static void leave(struct soon__blocked *self)
{
    *(self->prev ? &self->prev->next : &sleepers) = self->next;
    if (self->next)
        self->next->prev = self->prev;
}

int soon__block(struct soon__blocked *self)
{
    self->calls = soon__self.call;
    if (self->calls) {
        self->on_path = false;
        soon__lock_acquire(&lock);
        enter(self);
        bool deadlock = stuck(self);
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
