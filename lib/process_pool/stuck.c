/* SPDX-License-Identifier: MIT */
/*
 * Tasks that wait although a worker has nothing to do: handed ahead to another
 * whose task takes its time, or left in the queue since others were quick.
 *
 * Nobody tells of that. So while it may be the case the monitor looks again and
 * again, and what has not moved between two looks is stuck.
 */
#include "process_pool/pool.h"

enum {
    STUCK_NS = 200000,     /* between two looks */
    DOUBT_NS = 5000000,    /* longer than a process waits for its CPU as a rule */
    HELD_UP_NS = 50000000, /* before another worker is started because of it */
};

void soon__mind_waiting(struct pool *pool)
{
    if (!pool->stuck_at) {
        pool->stuck_at = soon__now() + STUCK_NS;
        pool->moved = false;
    }
    soon__monitor_by(pool, pool->stuck_at);
}

struct entry *soon__current(struct seat *seat)
{
    for (uint32_t p = seat->head; p != seat->tail; p++)
        if (soon__entry_at(seat, p)->future)
            return soon__entry_at(seat, p);
    return NULL;
}

/* A worker that is being born, or prepares itself, is not stuck: another one
 * that is started instead would not be sooner. */
static bool has_settled(struct seat *seat)
{
    const struct entry *first = soon__entry_at(seat, seat->head);

    return first->errand == SOON__ERRAND_TASK && (seat->head > 0 || first->begun);
}

/* Does it have tasks that wait for it alone? */
static bool has_waiting(struct seat *seat)
{
    const struct entry *entry = soon__current(seat);

    if (!has_settled(seat) && !seat->pool->idle)
        return false;
    return seat->phase == SEAT_OPEN && entry && !entry->over && !entry->filling &&
           (seat->n_live > 1 || !entry->begun);
}

static bool is_anything_waiting(struct pool *pool)
{
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        soon__note_begun(seat);
        if (has_waiting(seat))
            return true;
    }
    return false;
}

/* Does a task wait in the queue although a worker has none? */
static bool is_passed_over(const struct pool *pool)
{
    return pool->queue.count && pool->idle;
}

/* Could another worker begin them at once? */
static bool has_spare_room(const struct pool *pool, soon_ns now)
{
    return pool->idle || (pool->n_workers < pool->max_workers && pool->nursery_up &&
                          !pool->stopped && !pool->broken && now >= pool->start_after);
}

/* A worker that has not moved on between two looks counts as quick no more, so
 * that another is used instead; and what waits for it goes to others. That may
 * be for want of a CPU, which passes: only after longer than that all workers
 * are used again. */
static void found_stuck(struct seat *seat, soon_ns now)
{
    struct pool *pool = seat->pool;

    if (!seat->stuck) {
        seat->stuck = true;
        seat->stuck_since = now;
        pool->trust++;
    }
    if (!seat->doubted && now - seat->stuck_since >= DOUBT_NS) {
        seat->doubted = true;
        pool->quick = false;
    }
    if (has_waiting(seat))
        soon__take_back(seat);
    else
        soon__seat_sort(seat);
}

/* Tasks behind one that takes its time, or with a worker that does not even
 * begin, while others have nothing to do: once that was seen twice. If there is
 * no other yet it may be just that the system gives the worker no CPU, and
 * another one would not get any sooner. */
void soon__check_stuck(struct pool *pool, soon_ns now)
{
    const soon_ns patience = pool->idle ? STUCK_NS : HELD_UP_NS;

    if (!has_spare_room(pool, now) || (!is_passed_over(pool) && !is_anything_waiting(pool))) {
        pool->stuck_at = 0;
        return;
    }
    if (pool->stuck_at > now + patience)
        pool->stuck_at = now + patience;
    bool again = pool->stuck_at && now >= pool->stuck_at;
    if (pool->stuck_at && !again)
        return;
    pool->stuck_at = now + patience;
    if (again && !pool->moved) /* nobody is quick */
        pool->quick = false;
    pool->moved = false;
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        if (again && seat->last_head == seat->head)
            found_stuck(seat, now);
        seat->last_head = seat->head;
    }
}
