/* SPDX-License-Identifier: MIT */
/*
 * The timer thread sleeps until the first deadline in a sorted list. Only
 * running tasks are in it, so it is about as long as there are workers, and
 * arming needs no memory: the nodes live in the calls.
 *
 *     no thread --acquire--> running --last release--> leaving --> no thread
 *
 * The thread is detached and leaves by itself. A new user may come before it
 * has left; then it stays. Callbacks of what it fails are run by a thread that
 * has handed the timer over to another.
 */
#include "core/timer.h"

#include "core/callback.h"
#include "core/future.h"
#include "core/thread.h"
#include "os/lock.h"
#include "os/thread.h"

#include <errno.h>

static struct {
    soon__lock lock;
    struct soon__timer *first; /* by deadline. Sync: lock */
    unsigned users;            /* Sync: lock */
    bool running;              /* there is a thread. Sync: lock */
    soon__futex changed;       /* the first deadline, or users. Sync: atomic, changed under lock */
} timer;

static void *run(void *unused);

static void poke(void)
{
    atomic_fetch_add(&timer.changed, 1);
    soon__futex_wake(&timer.changed, 1);
}

static void unlink_timer(struct soon__timer *node)
{
    *node->link = node->next;
    if (node->next)
        node->next->link = node->link;
    node->link = NULL;
}

/* Fails one future whose deadline has passed; the call that runs it loses the
 * race for it and drops its result. */
static void expire(soon_future *f)
{
    uint32_t from;

    if (soon__close(f, SOON__CALL, &from) == 0)
        soon__settle_late(f);
    soon_future_unref(f);
}

/* As expire(), but callbacks only become due: they are the host's, and may
 * take their time or wait for another deadline. */
static void expire_quietly(soon_future *f)
{
    soon__self.calling_back = true;
    expire(f);
    soon__self.calling_back = false;
}

/* Callbacks are due: another thread takes over the timer, this one runs them.
 * False, and this one goes on after that, if no thread can be had. */
static bool hand_over(void)
{
    pthread_t thread;

    soon__lock_acquire(&timer.lock);
    timer.running = timer.users && soon__thread_start(&thread, 0, run, NULL) == 0;
    bool over = timer.running || !timer.users;
    if (timer.running)
        pthread_detach(thread);
    timer.running = timer.running || !over;
    soon__lock_release(&timer.lock);
    soon__run_callbacks();
    return over;
}

/* The next future to fail, with a reference of the timer's own, since the
 * call may return meanwhile; or NULL and when to look again. */
static soon_future *next_due(soon_ns now, soon_ns *again)
{
    struct soon__timer *first = timer.first;

    *again = first ? first->deadline : SOON__NEVER;
    if (!first || first->deadline > now)
        return NULL;
    unlink_timer(first);
    return soon_future_ref(first->future);
}

static void *run(void *unused)
{
    soon_ns again;

    soon__lock_acquire(&timer.lock);
    while (timer.users) {
        uint32_t seen = atomic_load(&timer.changed);
        soon_future *f = next_due(soon__now(), &again);
        soon__lock_release(&timer.lock);
        if (f)
            expire_quietly(f);
        else
            soon__futex_wait(&timer.changed, seen, again);
        if (soon__self.due && hand_over())
            return unused;
        soon__lock_acquire(&timer.lock);
    }
    timer.running = false;
    soon__lock_release(&timer.lock);
    return unused;
}

int soon__timer_acquire(void)
{
    pthread_t thread;
    int error = 0;

    soon__lock_acquire(&timer.lock);
    if (!timer.running && (error = soon__thread_start(&thread, 0, run, NULL)) == 0) {
        pthread_detach(thread);
        timer.running = true;
    }
    if (!error)
        timer.users++;
    soon__lock_release(&timer.lock);
    return error;
}

void soon__timer_release(void)
{
    soon__lock_acquire(&timer.lock);
    if (--timer.users == 0)
        poke();
    soon__lock_release(&timer.lock);
}

void soon__timer_arm(struct soon__timer *node)
{
    soon__lock_acquire(&timer.lock);
    struct soon__timer **link = &timer.first;
    while (*link && (*link)->deadline <= node->deadline)
        link = &(*link)->next;
    node->next = *link;
    node->link = link;
    if (node->next)
        node->next->link = &node->next;
    *link = node;
    if (timer.first == node)
        poke();
    soon__lock_release(&timer.lock);
}

void soon__timer_disarm(struct soon__timer *node)
{
    soon__lock_acquire(&timer.lock);
    if (node->link)
        unlink_timer(node);
    soon__lock_release(&timer.lock);
}

void soon__timer_fork_prepare(void)
{
    soon__lock_acquire(&timer.lock);
}

void soon__timer_fork_parent(void)
{
    soon__lock_release(&timer.lock);
}

/* The thread stayed in the parent, and so did its users' tasks. */
void soon__timer_fork_child(void)
{
    while (timer.first)
        unlink_timer(timer.first);
    timer.users = 0;
    timer.running = false;
    soon__lock_reset(&timer.lock);
}
