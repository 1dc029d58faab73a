/* SPDX-License-Identifier: MIT */
/*
 * Futures in the order in which they are done.
 *
 *     add --> waiting --(hook fires)--> ready --(next)--> out
 *        \\--(done already)--------------^
 *
 * An entry is in the table from add to out, which is what makes duplicates
 * one; those of new(), which are freed together, stay there and are marked. While
 * waiting it is on the waiting list as well, where next() looks for tasks to run
 * in place.
 *
 * Locks: hooks fire under the future's stripe and then take the iterator's
 * lock. So nothing here touches a hook while it holds that lock.
 */
#include "core/block.h"
#include "core/entry_table.h"
#include "core/fork.h"
#include "core/mem.h"
#include "core/misuse.h"
#include "core/wait.h"
#include "os/event.h"
#include "os/lock.h"

#include <errno.h>
#include <limits.h>
#include <soon/backend.h>
#include <soon/wait.h>

/* Entries of new(). */
struct piece {
    struct piece *next;
    size_t n;
    struct soon__entry entry[];
};

enum { PIECE = (SOON__ENTRIES_MAX - sizeof(struct piece)) / sizeof(struct soon__entry) };

struct soon_as_completed {
    soon__lock lock;
    struct piece *first, *last;                  /* freed with it. Sync: const after new() */
    uint32_t birthplace;                         /* Sync: const: the fork generation */
    struct soon__entry_table table;              /* waiting and ready. Sync: lock */
    struct soon__entry *waiting, *waiting_tail;  /* in the order added. Sync: lock */
    struct soon__entry *ready_head, *ready_tail; /* Sync: lock */
    soon__futex changed;                         /* ready or count changed. Sync: lock to write */
    unsigned users;                              /* threads inside. Sync: lock */
    int fd;                                      /* or -1. Sync: lock */
    bool fd_set;                                 /* it is readable. Sync: lock */
};

/* ---- readiness, under the lock ---- */

static bool would_not_block(const soon_as_completed *it)
{
    return it->ready_head || it->table.count == 0;
}

static void changed(soon_as_completed *it)
{
    bool now = would_not_block(it);

    /* relaxed, both: who sleeps on it has read it under the lock. */
    uint32_t count = atomic_load_explicit(&it->changed, memory_order_relaxed);
    atomic_store_explicit(&it->changed, count + 1, memory_order_relaxed);
    if (it->fd >= 0 && now != it->fd_set) {
        (now ? soon__event_set : soon__event_clear)(it->fd);
        it->fd_set = now;
    }
}

static void make_ready(soon_as_completed *it, struct soon__entry *e)
{
    e->fired = true;
    e->next = NULL;
    *(it->ready_head ? &it->ready_tail->next : &it->ready_head) = e;
    it->ready_tail = e;
    changed(it);
}

static void link_waiting(soon_as_completed *it, struct soon__entry *e)
{
    e->next = NULL;
    e->prev = it->waiting_tail;
    *(e->prev ? &e->prev->next : &it->waiting) = e;
    it->waiting_tail = e;
}

static void unlink_waiting(soon_as_completed *it, struct soon__entry *e)
{
    *(e->prev ? &e->prev->next : &it->waiting) = e->next;
    *(e->next ? &e->next->prev : &it->waiting_tail) = e->prev;
}

static void fire_entry(struct soon__entry *e)
{
    soon_as_completed *it = e->it;

    if (it->birthplace != soon__generation())
        return; /* and its lock may have stayed in the parent, held */
    soon__lock_acquire(&it->lock);
    unlink_waiting(it, e);
    make_ready(it, e);
    if (it->users) /* under the lock: who finds e ready may free it */
        soon__futex_wake(&it->changed, INT_MAX);
    soon__lock_release(&it->lock);
}

static void fire(struct soon__hook *hook, soon_future *f)
{
    (void)f;
    fire_entry((struct soon__entry *)hook);
}

/* ---- adding ---- */

static void init_entry(struct soon__entry *e, soon_as_completed *it, soon_future *f)
{
    *e = (struct soon__entry){.hook.fire = fire, .it = it, .future = soon_future_ref(f)};
}

/* The memory; its reference has gone elsewhere. */
static void free_entry(struct soon__entry *e)
{
    if (e->alone)
        soon__free(e, sizeof *e);
}

static void drop_entry(struct soon__entry *e)
{
    soon_future_unref(e->future);
    free_entry(e);
}

/* Into the table, as ready if it is done already. Under the lock. */
static void insert(soon_as_completed *it, struct soon__entry *e, bool done)
{
    soon__entry_put(&it->table, e);
    if (done) {
        make_ready(it, e);
    } else {
        link_waiting(it, e);
        changed(it);
    }
}

/* For a future found in that state; e is its entry from here on. */
static void add(soon_as_completed *it, struct soon__entry *e, uint32_t state)
{
    soon_future *f = e->future;
    bool done = state & SOON__DONE;

    soon__lock_acquire(&it->lock);
    bool twice = soon__entry_find(&it->table, f);
    if (!twice)
        insert(it, e, done);
    bool wake = done && !twice && it->users > 0;
    /* Once hooked the entry may be out, and freed, before the hook call
     * returns; but not the iterator, which the caller keeps. */
    soon__lock_release(&it->lock);
    if (twice)
        drop_entry(e);
    else if (!done && !soon__hook_add(f, &e->hook))
        fire_entry(e);
    if (wake)
        soon__futex_wake(&it->changed, INT_MAX);
}

/* 0 and its state, or why it can't be waited for here. */
static int check(const soon_as_completed *it, const soon_future *f, uint32_t *state)
{
    *state = soon__state(f);
    if (it->birthplace != soon__generation() || (!(*state & SOON__DONE) && soon__inherited(*state)))
        return -ENOTRECOVERABLE;
    return 0;
}

int soon_as_completed_add(soon_as_completed *it, soon_future *f)
{
    uint32_t state;

    if (!it || !f)
        return -EINVAL;
    int error = check(it, f, &state);
    if (error)
        return error;
    struct soon__entry *e = soon__alloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    init_entry(e, it, f);
    e->alone = true;
    add(it, e, state);
    return 0;
}

/* The same for a future of new(). */
static void add_first(soon_as_completed *it, struct soon__entry *e, uint32_t state)
{
    if (!soon__entry_find(&it->table, e->future)) {
        insert(it, e, state & SOON__DONE);
        return;
    }
    drop_entry(e);
    e->future = NULL;
}

/* Entries for the first n of the futures, of which there are so many from here on; the
 * memory of each is asked for some turns before it is looked at: they lie anywhere, and
 * waiting for them one by one is most of what this takes. */
static int add_piece(soon_as_completed *it, soon_future *const *futures, size_t n, size_t left)
{
    enum { AHEAD = 8 };
    struct piece *piece = soon__alloc(sizeof *piece + n * sizeof *piece->entry);
    uint32_t state;

    if (!piece)
        return -ENOMEM;
    piece->next = NULL;
    piece->n = n;
    *(it->last ? &it->last->next : &it->first) = piece;
    it->last = piece;
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < left) {
            __builtin_prefetch(futures[i + AHEAD], 1);
            __builtin_prefetch(soon__entry_bucket(&it->table, futures[i + AHEAD]), 1);
        }
        int error = check(it, futures[i], &state);
        if (error)
            return error;
        init_entry(&piece->entry[i], it, futures[i]);
        add_first(it, &piece->entry[i], state);
    }
    return 0;
}

static void hook_piece(struct piece *piece)
{
    for (size_t i = 0; i < piece->n; i++) {
        struct soon__entry *e = &piece->entry[i];
        if (e->future && !e->fired && !soon__hook_add(e->future, &e->hook))
            fire_entry(e);
    }
}

/* Until the first is hooked nobody else knows the iterator: it needs no lock. */
static int add_all(soon_as_completed *it, soon_future *const *futures, size_t n)
{
    int error = 0;

    for (size_t i = 0; i < n && !error; i += PIECE)
        error = add_piece(it, futures + i, n - i < PIECE ? n - i : PIECE, n - i);
    for (struct piece *piece = it->first; piece && !error; piece = piece->next)
        hook_piece(piece);
    return error;
}

int soon_as_completed_new(soon_future *const *futures, size_t n, soon_as_completed **out)
{
    if (!out || (!futures && n))
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!futures[i])
            return -EINVAL;
    soon_as_completed *it = soon__zalloc(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->fd = -1;
    it->birthplace = soon__generation();
    int error = soon__entry_table_grow(&it->table, n) ? add_all(it, futures, n) : -ENOMEM;
    if (error) {
        soon_as_completed_free(it);
        return error;
    }
    *out = it;
    return 0;
}

/* ---- taking ---- */

static bool each(const void *set, soon__look_fn *look, void *data)
{
    soon_as_completed *it = (soon_as_completed *)(uintptr_t)set;

    soon__lock_acquire(&it->lock);
    bool asleep = !would_not_block(it);
    for (struct soon__entry *e = it->waiting; e && asleep && look(e->future, data); e = e->next)
        ;
    soon__lock_release(&it->lock);
    return asleep;
}

/* The next one that is done, out of the table; or NULL. Under the lock. */
static struct soon__entry *take_ready(soon_as_completed *it)
{
    struct soon__entry *e = it->ready_head;

    if (e) {
        it->ready_head = e->next;
        if (e->next)
            __builtin_prefetch(e->next->future);
        soon__entry_take_out(&it->table, e);
        changed(it);
    }
    return e;
}

/* A waiting future that this thread can run in place, with a reference.
 * Under the lock. */
static soon_future *find_work(const soon_as_completed *it)
{
    for (struct soon__entry *e = it->waiting; e && soon__may_help(); e = e->next)
        if (soon__can_help(e->future))
            return soon_future_ref(e->future);
    return NULL;
}

static int sleep_until_changed(soon_as_completed *it, uint32_t seen, soon_ns deadline)
{
    struct soon__blocked self = {.set = it, .each = each, .any = true};

    int error = soon__block(&self);
    if (error)
        return error;
    error = soon__futex_wait(&it->changed, seen, deadline);
    soon__unblock(&self);
    return error;
}

/* 1, 0, or an error; e is out. */
static int next_entry(soon_as_completed *it, soon_ns timeout, struct soon__entry **out)
{
    soon_ns deadline = soon__deadline(timeout);
    int error = 0;

    for (;;) {
        uint32_t seen = atomic_load(&it->changed);
        if ((*out = take_ready(it)))
            return 1;
        if (it->table.count == 0 || error)
            return it->table.count ? error : 0;
        if (timeout == 0)
            return -ETIMEDOUT;
        soon_future *work = find_work(it);
        soon__lock_release(&it->lock);
        if (work) {
            soon__help(work);
            soon_future_unref(work);
            if (it->birthplace != soon__generation())
                return -ENOTRECOVERABLE; /* the task forked, and this is the child */
        } else {
            error = sleep_until_changed(it, seen, deadline);
        }
        soon__lock_acquire(&it->lock);
    }
}

int soon_as_completed_next(soon_as_completed *it, soon_ns timeout, soon_future **out)
{
    struct soon__entry *e;

    if (!it || !out)
        return -EINVAL;
    if (it->birthplace != soon__generation())
        return -ENOTRECOVERABLE;
    if (timeout != 0)
        soon_flush_callbacks();
    soon__lock_acquire(&it->lock);
    it->users++;
    int result = next_entry(it, timeout, &e);
    if (it->birthplace != soon__generation())
        return result;
    it->users--;
    soon__lock_release(&it->lock);
    if (result == 1) {
        *out = e->future; /* with the entry's reference */
        free_entry(e);
    }
    return result;
}

int soon_as_completed_fd(soon_as_completed *it)
{
    if (!it)
        return -EINVAL;
    if (it->birthplace != soon__generation())
        return -ENOTRECOVERABLE;
    soon__lock_acquire(&it->lock);
    if (it->fd < 0) {
        it->fd = soon__event_new();
        changed(it);
    }
    int fd = it->fd;
    if (fd < 0)
        it->fd = -1;
    soon__lock_release(&it->lock);
    return fd;
}

/* ---- the end ---- */

void soon_as_completed_free(soon_as_completed *it)
{
    if (!it || it->birthplace != soon__generation())
        return;
    soon__lock_acquire(&it->lock);
    if (it->users)
        soon__misuse("soon_as_completed_free: another thread is inside");
    while (it->waiting) {
        struct soon__entry *e = it->waiting;
        soon__lock_release(&it->lock);
        /* Either this unlinks the hook, or it has fired and e is ready. */
        soon__hook_remove(e->future, &e->hook);
        soon__lock_acquire(&it->lock);
        if (!e->fired) {
            unlink_waiting(it, e);
            make_ready(it, e); /* freed below, without the lock */
        }
    }
    soon__lock_release(&it->lock);
    for (struct soon__entry *e = it->ready_head, *next; e; e = next) {
        next = e->next;
        drop_entry(e);
    }
    if (it->fd >= 0)
        soon__event_close(it->fd);
    for (struct piece *piece = it->first, *next; piece; piece = next) {
        next = piece->next;
        soon__free(piece, sizeof *piece + piece->n * sizeof *piece->entry);
    }
    soon__entry_table_free(&it->table);
    soon__free(it, sizeof *it);
}
