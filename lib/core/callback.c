/* SPDX-License-Identifier: MIT */
/*
 * Hooks and callbacks. callback.h says what they are.
 *
 * Add against complete: the adder, under the stripe's lock, links its hook
 * and then sets HOOKS in the state word, by compare-and-swap, unless the
 * phase is done. The completer's exchange comes before or after that swap:
 * before, the swap fails, and the adder unlinks and knows the future is done;
 * after, the completer finds HOOKS, takes the lock, and with it the list.
 *
 * Remove against complete: both under the lock. A hook is linked, and then it
 * has not fired; or it is not, and then it has, or as a callback is due.
 *
 * Callbacks don't nest. A thread has one queue of due callbacks and one loop
 * that empties it; a completion inside a callback only appends.
 */
#include "core/callback.h"

#include "core/callback_index.h"
#include "core/executor.h"
#include "core/fork.h"
#include "core/mem.h"
#include "os/lock.h"

#include <errno.h>

enum { STRIPES = 64 };

static struct stripe {
    _Alignas(64) soon__lock lock;
    struct soon__callback_index index; /* Sync: lock */
} stripes[STRIPES];

static struct stripe *stripe_of(const soon_future *f)
{
    /* Fibonacci hashing (Knuth 1973): futures are multiples of 16. */
    return &stripes[(uint64_t)(uintptr_t)f * 0x9E3779B97F4A7C15u >> 58];
}

void soon__stripes_fork_prepare(void)
{
    for (int i = 0; i < STRIPES; i++)
        soon__lock_acquire(&stripes[i].lock);
}

void soon__stripes_fork_release(void)
{
    for (int i = 0; i < STRIPES; i++)
        soon__lock_release(&stripes[i].lock);
}

/* ---- the list, under the stripe's lock ---- */

static void link_hook(soon_future *f, struct soon__hook *hook)
{
    struct soon__hook *first = f->hooks;

    if (!first) {
        f->hooks = hook->next = hook->prev = hook;
        return;
    }
    hook->next = first;
    hook->prev = first->prev;
    first->prev->next = hook;
    first->prev = hook;
}

static void unlink_hook(soon_future *f, struct soon__hook *hook)
{
    if (hook->next == hook)
        f->hooks = NULL;
    else if (f->hooks == hook)
        f->hooks = hook->next;
    hook->next->prev = hook->prev;
    hook->prev->next = hook->next;
    hook->next = hook->prev = NULL;
}

/* Sets HOOKS unless f is done. */
static bool announce(soon_future *f)
{
    uint32_t state = soon__state(f);

    while (!(state & (SOON__DONE | SOON__HOOKS)))
        /* release: pairs with the exchange in publish(). */
        if (atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON__HOOKS,
                                                  memory_order_release, memory_order_acquire))
            return true;
    return !(state & SOON__DONE);
}

static bool add_locked(soon_future *f, struct soon__hook *hook)
{
    link_hook(f, hook);
    if (announce(f))
        return true;
    unlink_hook(f, hook);
    return false;
}

bool soon__hook_add(soon_future *f, struct soon__hook *hook)
{
    struct stripe *stripe = stripe_of(f);

    soon__lock_acquire(&stripe->lock);
    bool added = add_locked(f, hook);
    soon__lock_release(&stripe->lock);
    return added;
}

void soon__hook_remove(soon_future *f, struct soon__hook *hook)
{
    struct stripe *stripe = stripe_of(f);

    soon__lock_acquire(&stripe->lock);
    if (hook->next)
        unlink_hook(f, hook);
    soon__lock_release(&stripe->lock);
}

/* ---- callbacks that are due ---- */

static void free_callback(struct soon__callback *cb)
{
    soon_future_unref(cb->task);
    if (cb->on)
        soon_executor_unref(cb->on);
    soon__free(cb, sizeof *cb);
}

/* Appends to the calling thread's queue. */
static void make_due(struct soon__callback *cb)
{
    struct soon__thread *self = &soon__self;

    cb->next = NULL;
    if (!self->due)
        self->due_tail = &self->due;
    *self->due_tail = cb;
    self->due_tail = &cb->next;
}

void soon__hooks_fire(soon_future *f)
{
    struct stripe *stripe = stripe_of(f);
    struct soon__hook *hook;

    soon__lock_acquire(&stripe->lock);
    while ((hook = f->hooks)) {
        unlink_hook(f, hook);
        if (hook->fire) {
            hook->fire(hook, f);
            continue;
        }
        struct soon__callback *cb = (struct soon__callback *)hook;
        soon__callback_index_remove(&stripe->index, cb);
        soon_future_ref(f);
        make_due(cb);
    }
    soon__lock_release(&stripe->lock);
}

/* The task that an `_on` callback is: its argument is the callback itself,
 * which it frees. */
static int run_on(soon_call *call, const void *arg, size_t arg_len)
{
    struct soon__callback *cb = *(struct soon__callback *const *)arg;

    (void)call, (void)arg_len;
    cb->fn(cb->future, cb->data);
    soon_future_unref(cb->future);
    free_callback(cb);
    return 0;
}

/* The task was cancelled, or its pool broke, before it ran. The callback is
 * called all the same, here. */
void soon__callback_left(soon_future *task)
{
    size_t len;
    struct soon__callback *cb = *(struct soon__callback *const *)soon__future_arg(task, &len);

    make_due(cb); /* without a task: send_off() won't send it again */
}

/* Hands an `_on` callback to its executor. The task keeps cb->task's
 * reference and cb is freed by run_on(). */
static bool send_off(struct soon__callback *cb)
{
    soon_future *task = cb->task;

    if (!task)
        return false;
    cb->task = NULL;
    if (soon__submit_prepared(cb->on, task) == 0)
        return true;
    cb->task = task; /* shut down meanwhile: run it here */
    return false;
}

static void run_due(void)
{
    struct soon__thread *self = &soon__self;
    struct soon__callback *cb;

    while ((cb = self->due)) {
        self->due = cb->next;
        if (send_off(cb))
            continue;
        cb->fn(cb->future, cb->data);
        soon_future_unref(cb->future);
        free_callback(cb);
    }
}

void soon__run_callbacks(void)
{
    if (soon__self.calling_back || !soon__self.due)
        return;
    soon__self.calling_back = true;
    run_due();
    soon__self.calling_back = false;
}

void soon_flush_callbacks(void)
{
    if (soon__self.calling_back)
        run_due();
}

bool soon_callbacks_defer(void)
{
    bool before = soon__self.calling_back;

    soon__self.calling_back = true;
    return before;
}

void soon_callbacks_resume(bool before)
{
    soon__self.calling_back = before;
    soon__run_callbacks();
}

void *soon_callbacks_take(bool before)
{
    struct soon__callback *due = soon__self.due;

    soon__self.calling_back = before;
    soon__self.due = NULL;
    return due;
}

void soon_callbacks_put(void *taken)
{
    struct soon__thread *self = &soon__self;

    if (!taken)
        return;
    if (!self->due)
        self->due_tail = &self->due;
    *self->due_tail = taken;
    while (*self->due_tail)
        self->due_tail = &(*self->due_tail)->next;
}

bool soon_callbacks_due(void)
{
    return soon__self.due != NULL;
}

void soon__callbacks_abandon(soon_future *f)
{
    struct stripe *stripe = stripe_of(f);

    soon__lock_acquire(&stripe->lock);
    while (f->hooks) {
        struct soon__callback *cb = (struct soon__callback *)f->hooks;
        unlink_hook(f, &cb->hook);
        soon__callback_index_remove(&stripe->index, cb);
        soon__lock_release(&stripe->lock);
        free_callback(cb);
        soon__lock_acquire(&stripe->lock);
    }
    soon__lock_release(&stripe->lock);
}

/* ---- the calls ---- */

static struct soon__callback *new_callback(soon_future *f, soon_done_fn *fn, void *data)
{
    struct soon__callback *cb = soon__zalloc(sizeof *cb);

    if (cb) {
        cb->future = f;
        cb->fn = fn;
        cb->data = data;
    }
    return cb;
}

static bool add_callback(soon_future *f, struct soon__callback *cb)
{
    struct stripe *stripe = stripe_of(f);

    soon__lock_acquire(&stripe->lock);
    bool added = add_locked(f, &cb->hook);
    if (added)
        soon__callback_index_add(&stripe->index, cb);
    soon__lock_release(&stripe->lock);
    return added;
}

int soon_future_add_done_callback(soon_future *f, soon_done_fn *fn, void *data)
{
    if (!f || !fn)
        return -EINVAL;
    struct soon__callback *cb = new_callback(f, fn, data);
    if (!cb)
        return -ENOMEM;
    if (!add_callback(f, cb)) {
        soon_future_ref(f);
        make_due(cb);
        soon__run_callbacks();
    }
    return 0;
}

static int new_callback_on(soon_future *f, soon_executor *ex, soon_done_fn *fn, void *data,
                           struct soon__callback **out)
{
    struct soon__callback *cb = new_callback(f, fn, data);
    if (!cb)
        return -ENOMEM;
    int error = soon__executor_try_ref(ex);
    if (!error) {
        cb->on = ex;
        error = soon__prepare(ex, &(soon_task){.fn = run_on, .arg = &cb, .arg_len = sizeof cb},
                              SOON__IS_CALLBACK, &cb->task);
    }
    if (error) {
        free_callback(cb);
        return error;
    }
    *out = cb;
    return 0;
}

int soon_future_add_done_callback_on(soon_future *f, soon_executor *ex, soon_done_fn *fn,
                                     void *data)
{
    struct soon__callback *cb;

    if (!f || !fn)
        return -EINVAL;
    int error = soon__executor_check(ex);
    if (!error && !(ex->ops->flags & SOON_BACKEND_LOCAL))
        error = -ENOTSUP;
    if (!error)
        error = soon__closed_error(ex->core);
    if (!error)
        error = new_callback_on(f, ex, fn, data, &cb);
    if (error || add_callback(f, cb))
        return error;
    /* Done already: a task like any other, which may still be refused. */
    soon_future_ref(f);
    soon_future *task = cb->task;
    cb->task = NULL;
    error = soon__submit_prepared(ex, task);
    if (error) {
        cb->task = task;
        free_callback(cb);
        soon_future_unref(f);
    }
    return error;
}

bool soon_future_remove_done_callback(soon_future *f, soon_done_fn *fn, void *data)
{
    if (!f || !fn)
        return false;
    struct stripe *stripe = stripe_of(f);

    soon__lock_acquire(&stripe->lock);
    struct soon__callback *cb = soon__callback_index_find(&stripe->index, f, fn, data);
    if (cb) {
        soon__callback_index_remove(&stripe->index, cb);
        unlink_hook(f, &cb->hook);
    }
    soon__lock_release(&stripe->lock);
    if (cb)
        free_callback(cb);
    return cb != NULL;
}
