/* SPDX-License-Identifier: MIT */
/*
 * Waiting for one future, and for some of many.
 *
 * A wait has up to three stages. What is done already needs none. In a task,
 * what is pending in the task's own executor is run right here, so that no
 * task ever waits for a queue that it blocks itself. What remains runs
 * somewhere else, or will be completed from outside: the thread sleeps, on
 * the state word for one future, on hooks for many.
 */
#include "core/wait.h"

#include "core/block.h"
#include "core/callback.h"
#include "core/error.h"
#include "core/future_cache.h"
#include "core/join.h"
#include "core/mem.h"
#include "core/thread.h"

#include <errno.h>
#include <limits.h>
#include <soon/backend.h>
#include <soon/wait.h>
#include <string.h>

bool soon__may_help(void)
{
    return soon__self.call || soon__self.worker_of;
}

static inline __attribute__((always_inline)) bool can_help(const soon_future *f, uint32_t state)
{
    return soon__pending(state) && f->executor && soon__within(f->executor) &&
           !soon__is_remote(f) && !soon__inherited(state) && soon__stack_left();
}

bool soon__can_help(const soon_future *f)
{
    return can_help(f, soon__state(f));
}

/* Could only this thread run f, and has it no stack left to do so? A backend
 * that hears of waits makes up for them. */
static bool is_hopeless(const soon_future *f)
{
    return !soon__is_remote(f) && soon__may_help() && soon__pending(soon__state(f)) &&
           f->executor && soon__within(f->executor) && !soon__stack_left() &&
           !f->executor->ops->blocking;
}

bool soon__help(soon_future *f)
{
    return can_help(f, soon__state(f)) && soon__run_in_place(f);
}

/* ---- one ---- */

static bool each_one(const void *set, soon__look_fn *look, void *data)
{
    look(set, data);
    return !soon_future_done(set);
}

/* For what is left when this thread has done what it can. */
static __attribute__((noinline)) int sleep_until(soon_future *f, soon_ns deadline)
{
    struct soon__blocked self = {.set = f, .each = each_one};

    if (soon__inherited(soon__state(f)))
        return -ENOTRECOVERABLE; /* a task that ran in place forked */
    int error = is_hopeless(f) ? -EDEADLK : soon__block(&self);
    if (error)
        return error;
    error = soon__sleep(f, deadline);
    soon__unblock(&self);
    return error;
}

static inline int wait_until(soon_future *f, soon_ns deadline)
{
    soon_flush_callbacks();
    /* Run right here it is done, unless it forked and this is the child. */
    if (can_help(f, soon__state(f)))
        soon__run_in_place(f);
    return soon__state(f) & SOON__DONE ? 0 : sleep_until(f, deadline);
}

int soon__wait_until(soon_future *f, soon_ns deadline)
{
    return wait_until(f, deadline);
}

static __attribute__((noinline)) int wait_for_pending(soon_future *f, soon_ns timeout)
{
    if (soon__inherited(soon__state(f)))
        return -ENOTRECOVERABLE;
    if (!timeout)
        return -ETIMEDOUT;
    return wait_until(f, timeout < 0 ? SOON__NEVER : soon__deadline(timeout));
}

/* Runs f if it is the youngest child of the calling task. */
static inline void join(soon_future *f)
{
    struct soon__deque *own = soon__self.forks;
    enum soon__taken taken = own ? soon__take_child(own, f) : SOON__NOT_TAKEN;

    if (taken == SOON__TAKEN)
        soon__run_child(f);
    else if (taken == SOON__STOLEN)
        soon__run_stolen(f);
}

static inline int wait_for_one(soon_future *f, soon_ns timeout)
{
    if (!f)
        return -EINVAL;
    if (!(soon__state(f) & SOON__DONE) && timeout)
        join(f);
    return soon__state(f) & SOON__DONE ? 0 : wait_for_pending(f, timeout);
}

int soon_future_wait(soon_future *f, soon_ns timeout)
{
    return wait_for_one(f, timeout);
}

int soon_future_value(soon_future *f, soon_ns timeout, const void **value, size_t *len)
{
    int error = wait_for_one(f, timeout);
    size_t n;

    if (error)
        return error;
    soon__fetch_ahead(f);
    if ((error = soon__code_of(f)))
        return error;
    const void *v = soon__future_value(f, &n);
    if (value)
        *value = v;
    if (len)
        *len = n;
    return 0;
}

/* f is done. */
int soon__copy_result(const soon_future *f, void *value, size_t len)
{
    size_t n;

    soon__fetch_ahead(f);
    int error = soon__code_of(f);
    if (error)
        return error;
    const void *v = soon__future_value(f, &n);
    if (n != len)
        return -EMSGSIZE;
    soon__move(value, v, len);
    return 0;
}

__attribute__((noinline)) int soon__wait_result(soon_future *f, soon_ns timeout, void *value,
                                                size_t len)
{
    int error = soon__state(f) & SOON__DONE ? 0 : wait_for_pending(f, timeout);

    return error ? error : soon__copy_result(f, value, len);
}

/* Has it a result of that length, which is in f unless it is longer than any there? */
static inline bool has_result(const soon_future *f, size_t len)
{
    return (soon__state(f) & SOON__PHASE) == SOON_FINISHED && !f->code && f->value_len == len;
}

SOON__HOT int soon_future_result(soon_future *f, soon_ns timeout, void *value, size_t len)
{
    if (soon__unlikely(!f) || soon__unlikely(!value && len))
        return -EINVAL;
    if (soon__self.forks && timeout)
        return soon__join_result(f, timeout, value, len);
    if (soon__likely(has_result(f, len))) {
        soon__fetch_ahead(f);
        /* Of a word, as most have, the place does not depend on its length. */
        if (soon__likely(soon__move_word(value, soon__value_at(f, SOON__WORD_ROOM), len)))
            return 0;
    }
    return soon__wait_result(f, timeout, value, len);
}

int soon_future_error(soon_future *f, soon_ns timeout, soon_error *error)
{
    if (!error)
        return -EINVAL;
    int failed = soon_future_wait(f, timeout);
    if (!failed)
        soon__error_of(f, error);
    return failed;
}

/* ---- many ---- */

enum { FEW = 16 }; /* futures that need no memory */

struct group;

struct member {
    struct soon__hook hook; /* first: fire() gets its address */
    soon_future *future;
    struct group *group;
};

/* One soon_wait(), on its stack. Hooks reach it under a stripe's lock, and
 * removing them all comes before its end. */
struct group {
    struct member *members;     /* Sync: const after gather() */
    size_t n;                   /* Sync: const after gather() */
    enum soon_return_when when; /* Sync: const */
    _Atomic size_t left;        /* Sync: atomic: hooks that have not fired */
    atomic_bool over;           /* Sync: atomic */
    soon__futex changed;        /* Sync: atomic: changes when it should look again */
};

/* Is f's end one that ends the whole wait? Cancelled is not failed. */
static bool ends_wait(const soon_future *f, enum soon_return_when when)
{
    uint32_t phase = soon__state(f) & SOON__PHASE;

    switch (when) {
    case SOON_FIRST_COMPLETED:
        return phase & SOON__DONE;
    case SOON_FIRST_EXCEPTION:
        return phase == SOON_FINISHED && f->code != 0;
    default:
        return false;
    }
}

/* A wait for the first exception looks at each end: what is left may have
 * become a deadlock. */
static void one_less(struct group *group, const soon_future *f)
{
    /* acq_rel: the last one has seen what all the others completed. */
    size_t left = atomic_fetch_sub_explicit(&group->left, 1, memory_order_acq_rel);
    bool over = left == 1 || ends_wait(f, group->when);

    if (over)
        atomic_store(&group->over, true);
    if (over || group->when == SOON_FIRST_EXCEPTION) {
        atomic_fetch_add(&group->changed, 1);
        soon__futex_wake(&group->changed, 1);
    }
}

static void fire(struct soon__hook *hook, soon_future *f)
{
    one_less(((struct member *)hook)->group, f);
}

static bool each_member(const void *set, soon__look_fn *look, void *data)
{
    const struct group *group = set;

    if (atomic_load(&group->over))
        return false;
    for (size_t i = 0; i < group->n && look(group->members[i].future, data); i++)
        ;
    return true;
}

/* Each future once, by an open-addressing table of slots pointers, all NULL. */
static void gather_with(struct group *group, soon_future *const *futures, size_t n,
                        soon_future **table, size_t slots)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = ((uintptr_t)futures[i] >> 4) * 0x9E3779B97F4A7C15u >> 20 & (slots - 1);
        while (table[at] && table[at] != futures[i])
            at = (at + 1) & (slots - 1);
        if (table[at])
            continue;
        table[at] = futures[i];
        group->members[group->n++] =
            (struct member){.hook.fire = fire, .future = futures[i], .group = group};
    }
}

static int gather(struct group *group, soon_future *const *futures, size_t n)
{
    soon_future *small[2 * FEW] = {0}, **table = small;
    size_t slots = 2 * FEW;

    while (slots < 2 * n)
        slots *= 2;
    if (n > FEW && !(table = soon__zalloc(slots * sizeof *table)))
        return -ENOMEM;
    gather_with(group, futures, n, table, slots);
    if (table != small)
        soon__free(table, slots * sizeof *table);
    return 0;
}

static int count_done(const struct group *group, bool *over)
{
    size_t done = 0;

    *over = false;
    for (size_t i = 0; i < group->n; i++) {
        done += soon_future_done(group->members[i].future);
        *over = *over || ends_wait(group->members[i].future, group->when);
    }
    *over = *over || done == group->n;
    return done < INT_MAX ? (int)done : INT_MAX;
}

/* Runs what this thread can of the group, until that ends the wait. */
static void help_group(const struct group *group)
{
    soon_flush_callbacks();
    for (size_t i = 0; i < group->n; i++) {
        soon_future *f = group->members[i].future;
        if (soon__help(f) && ends_wait(f, group->when))
            return;
    }
}

static void hook_all(struct group *group)
{
    for (size_t i = 0; i < group->n; i++)
        if (!soon__hook_add(group->members[i].future, &group->members[i].hook))
            one_less(group, group->members[i].future);
}

static void unhook_all(struct group *group)
{
    for (size_t i = 0; i < group->n; i++)
        soon__hook_remove(group->members[i].future, &group->members[i].hook);
}

/* Sleeps until the wait is over. */
static int sleep_until_over(struct group *group, struct soon__blocked *self, soon_ns deadline)
{
    for (;;) {
        uint32_t seen = atomic_load(&group->changed);
        int error = soon__block(self);
        if (error)
            return error;
        if (!atomic_load(&group->over))
            error = soon__futex_wait(&group->changed, seen, deadline);
        soon__unblock(self);
        if (error || atomic_load(&group->over))
            return 0; /* a timeout is no error */
    }
}

static int sleep_for(struct group *group, soon_ns deadline)
{
    struct soon__blocked self = {
        .set = group, .each = each_member, .any = group->when != SOON_ALL_COMPLETED};

    atomic_init(&group->left, group->n);
    hook_all(group);
    int error = sleep_until_over(group, &self, deadline);
    unhook_all(group);
    return error;
}

/* What no wait can be for: 0, or the error. */
static int check_members(const struct group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        const soon_future *f = group->members[i].future;
        uint32_t state = soon__state(f);
        if (!(state & SOON__DONE) && soon__inherited(state))
            return -ENOTRECOVERABLE;
        if (is_hopeless(f))
            return -EDEADLK;
    }
    return 0;
}

static int wait_for(struct group *group, soon_ns timeout)
{
    soon_ns deadline = soon__deadline(timeout);
    bool over;

    int done = count_done(group, &over);
    if (over || timeout == 0)
        return done;
    int error = check_members(group);
    if (error)
        return error;
    help_group(group);
    done = count_done(group, &over);
    if (over)
        return done;
    error = check_members(group); /* a task that ran in place may have forked */
    if (!error)
        error = sleep_for(group, deadline);
    return error ? error : count_done(group, &over);
}

int soon_wait(soon_future *const *futures, size_t n, enum soon_return_when when, soon_ns timeout)
{
    struct member few[FEW];
    struct group group = {.members = few, .when = when};

    if ((!futures && n) || (int)when < SOON_FIRST_COMPLETED || when > SOON_ALL_COMPLETED)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!futures[i])
            return -EINVAL;
    if (n == 0)
        return 0;
    if (n > FEW && !(group.members = soon__alloc_array(n, sizeof *few)))
        return -ENOMEM;
    int result = gather(&group, futures, n);
    if (result == 0)
        result = wait_for(&group, timeout);
    if (group.members != few)
        soon__free(group.members, n * sizeof *few);
    return result;
}
