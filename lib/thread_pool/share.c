/* SPDX-License-Identifier: MIT */
/*
 * How much of the queue a worker takes at a time, and what that does to the
 * order in which tasks begin.
 *
 * A worker that took its tasks one by one would take the lock for each, so it
 * takes a share: the oldest are its own next, in its deque, where others can
 * still get at them. What is in a share is older than all that is in the queue.
 * The same goes for what a worker's deque has when it was full, and younger
 * tasks of the same submitter go to the queue. Workers that have such tasks are
 * in a list, the oldest first.
 *
 * Strictly, who looks for work would have to take the oldest task of all, out of
 * another's share, again one by one. That is what happens unless tasks are
 * quick: so with tasks that take more than a microsecond those of one submitter
 * begin in the order submitted, though the holder of a share is held up.
 *
 * With quick tasks order is kept by the share. Who has done its own, takes half
 * of what is left of the oldest one if that was taken before its own was: its
 * holder is slower. Or if it was taken HELD_UP_NS ago: its holder is held up, by
 * a task that was not quick after all, or because it has no CPU. Otherwise it
 * goes to the queue. So a task is overtaken at most by one share a worker, and
 * not for longer than HELD_UP_NS while anybody looks for work.
 *
 * Tasks are quick if the last share that a worker has come to the end of took
 * less than QUICK_NS a task, and that was no longer ago than QUICK_FOR_NS. In the
 * moment in which they cease to be, what workers have in their shares may be
 * overtaken for longer.
 */
#include "thread_pool/pool.h"

#include "os/clock.h"

enum {
    SHARE_MAX = 128,
    QUICK_NS = 1000,
    QUICK_FOR_NS = 1000000,
    HELD_UP_NS = 100000,
};

/* ---- who has what is older than the queue ---- */

void soon__forget_deque(struct worker *self)
{
    struct pool *pool = self->pool;

    if (!self->has_old)
        return;
    *(self->older ? &self->older->newer : &pool->oldest) = self->newer;
    *(self->newer ? &self->newer->older : &pool->newest) = self->older;
    self->has_old = false;
}

/* Has it none left? The last of them may have gone at the bottom of its deque,
 * which then ends before old_end: its owner ran them in place. */
static bool has_done_old(const struct worker *w)
{
    return soon__deque_past(&w->deque, w->old_end) || soon__deque_empty(&w->deque);
}

/* Its place in the list goes by the oldest that it has. */
void soon__put_deque_first(struct worker *self)
{
    struct pool *pool = self->pool;
    bool stays = self->has_old && !has_done_old(self);

    self->old_end = soon__deque_end(&self->deque);
    if (stays)
        return;
    soon__forget_deque(self);
    self->has_old = true;
    self->older = pool->newest;
    self->newer = NULL;
    *(pool->newest ? &pool->newest->newer : &pool->oldest) = self;
    pool->newest = self;
}

/* The worker whose deque has the oldest of these tasks, or NULL. */
static struct worker *find_oldest(struct pool *pool)
{
    while (pool->oldest && has_done_old(pool->oldest))
        soon__forget_deque(pool->oldest);
    return pool->oldest;
}

/* ---- shares ---- */

static void put_share(struct worker *self, soon_future *const *share, size_t n)
{
    soon__deque_push_share(&self->deque, share, n);
    soon__put_deque_first(self);
    self->turns = 0;
    self->taken = self->pool->n_taken++;
    self->taken_at = soon__now();
}

/* Its deque is empty. */
static void end_share(struct worker *self)
{
    if (!self->taken_at)
        return;
    soon_ns now = soon__now();
    /* The first of it was no turn from the deque. */
    bool quick = now - self->taken_at < (soon_ns)(self->turns + 1) * QUICK_NS;
    self->pool->quick_at = quick ? now : 0;
    self->taken_at = 0;
}

/* One task to run, and if the deque is empty a share of what is behind it. */
static soon_future *take_queued(struct worker *self, bool some)
{
    struct pool *pool = self->pool;
    soon_future *share[SHARE_MAX];

    size_t n = soon__backlog_take(&pool->queue, &pool->inbox, share, some ? SHARE_MAX : 1);
    self->turns = 0;
    self->taken_at = 0; /* its turns are counted no more */
    if (n > 1)
        put_share(self, share + 1, n - 1);
    soon__count_queue(pool);
    return n ? share[0] : NULL;
}

static soon_future *take_half(struct worker *self, struct worker *from)
{
    soon_future *half[SHARE_MAX / 2];

    size_t n = soon__deque_steal_half(&from->deque, half, SHARE_MAX / 2);
    if (n > 1)
        put_share(self, half + 1, n - 1);
    return n ? half[0] : NULL;
}

static soon_future *take_one(struct worker *from)
{
    soon_future *f;
    bool again;

    do
        f = soon__deque_steal(&from->deque, &again);
    while (again);
    return f;
}

static bool are_quick(const struct pool *pool, soon_ns now)
{
    return pool->quick_at && now - pool->quick_at < QUICK_FOR_NS;
}

/* May what w has wait, since it will soon be done? */
static bool can_wait(const struct worker *self, const struct worker *w, soon_ns now)
{
    return w->taken > self->taken && now - w->taken_at < HELD_UP_NS;
}

/* From a deque, what is older than the queue. some: that may be a share. */
static soon_future *take_older(struct worker *self, bool some)
{
    struct pool *pool = self->pool;
    struct worker *w;
    soon_future *f = NULL;

    while (!f && (w = find_oldest(pool))) {
        soon_ns now = some && pool->quick_at ? soon__now() : 0;
        if (now && are_quick(pool, now)) {
            if (can_wait(self, w, now))
                return NULL;
            f = take_half(self, w);
        }
        if (!f)
            f = take_one(w);
    }
    return f;
}

soon_future *soon__take_outside(struct worker *self)
{
    /* relaxed: written under the lock. */
    bool urgent = atomic_load_explicit(&self->pool->urgent, memory_order_relaxed);
    bool some = soon__deque_empty(&self->deque);

    if (some)
        end_share(self);
    soon_future *f = urgent ? NULL : take_older(self, some);
    return f ? f : take_queued(self, some);
}
