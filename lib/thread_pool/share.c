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
 * A HIGH goes before all of that. When it is a NORMAL one's turn although there is a
 * HIGH, that is the oldest one's, too.
 *
 * Who looks for work takes the oldest task of all, out of another's share if it
 * is there, and one at a time: so the tasks of one submitter begin in the order
 * submitted, though the holder of a share is held up.
 */
#include "thread_pool/pool.h"

enum { SHARE_MAX = 128 };

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

/* One task to run, and if the deque is empty a share of what is behind it. */
static soon_future *take_queued(struct worker *self)
{
    struct pool *pool = self->pool;
    size_t max = soon__deque_empty(&self->deque) ? SHARE_MAX : 1;
    soon_future *share[SHARE_MAX];

    size_t n = soon__backlog_take(&pool->queue, &pool->inbox, share, max);
    self->turns = 0;
    if (max > 1) /* else it has not run its share yet: this one jumps it */
        soon__judge_share(self, n);
    if (n > 1) {
        soon__deque_push_many(&self->deque, share + 1, n - 1);
        soon__put_deque_first(self);
    }
    soon__count_queue(pool);
    return n ? share[0] : NULL;
}

/* From a deque, what is older than the queue. */
static soon_future *take_older(struct pool *pool)
{
    struct worker *w;
    soon_future *f = NULL;

    while (!f && (w = find_oldest(pool)))
        f = soon__deque_take_oldest(&w->deque);
    return f;
}

soon_future *soon__take_outside(struct worker *self)
{
    struct pool *pool = self->pool;
    /* relaxed: written under the lock. */
    bool urgent = atomic_load_explicit(&pool->urgent, memory_order_relaxed);
    bool due = !urgent || soon__backlog_is_normal_due(&pool->queue);
    soon_future *f = due ? take_older(pool) : NULL;

    if (f && urgent)
        soon__backlog_pass_turn(&pool->queue);
    return f ? f : take_queued(self);
}
