/* SPDX-License-Identifier: MIT */
/*
 * A thread that is about to sleep until a task is done looks for the result
 * itself for a few microseconds: where the worker runs on another CPU, a short
 * task's result is there before the monitor would be awake.
 *
 * It takes the worker's bell away meanwhile, so that the monitor sleeps on, and
 * sets it again before it gives up, as the monitor does: bell first, then
 * another look. Callbacks of what it completes become the monitor's, since the
 * thread may hold locks that they take.
 */
#include "process_pool/pool.h"

#include "os/patience.h"
#include "os/spin.h"

/* Where f is, or NULL. */
static struct seat *find_seat(struct pool *pool, const soon_future *f)
{
    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    struct seat *seat = entry && !entry->filling ? entry->seat : NULL;
    if (seat)
        /* seq_cst, for the worker's look at it; set again by set_bell(). */
        atomic_store(&seat->segment->channel->bell, SOON__BELL_OFF);
    soon__lock_release(&pool->lock);
    return seat;
}

static bool is_ready(struct seat *seat)
{
    soon__lock_acquire(&seat->pool->lock);
    bool ready = soon__is_ready(seat);
    soon__lock_release(&seat->pool->lock);
    return ready;
}

/* The monitor, if it sleeps, relies on the bell again. True: there is
 * something that it might not be told. */
static bool set_bell(struct seat *seat)
{
    struct pool *pool = seat->pool;
    bool ready = false;

    soon__lock_acquire(&pool->lock);
    if (pool->watching && seat->phase != SEAT_VACANT) {
        /* seq_cst: the bell's Dekker pair. BEGINS, which may have been there,
         * includes ENDS. */
        atomic_store(&seat->segment->channel->bell, SOON__BELL_BEGINS);
        (void)soon__note_begun(seat); /* it may have begun while there was no bell */
        ready = soon__is_ready(seat);
    }
    soon__lock_release(&pool->lock);
    return ready;
}

static void watch(struct seat *seat, const soon_future *f, soon_ns end)
{
    do {
        for (int i = 0; i < 8 && !soon_future_done(f); i++) {
            if (is_ready(seat))
                soon__collect_seat(seat);
            soon__pause();
        }
    } while (!soon_future_done(f) && soon__now() < end);
}

/* Ends the deferral: what is due here joins what the monitor has not fetched
 * yet. Before `collecting` is released, so that the monitor, when it has
 * had that last, misses nothing. */
static void hand_callbacks_over(struct pool *pool, bool before)
{
    soon__lock_acquire(&pool->lock);
    void *due = soon_callbacks_take(before);
    if (due) {
        soon_callbacks_put(pool->orphans); /* the older ones first */
        soon_callbacks_put(due);
        pool->orphans = soon_callbacks_take(before);
    }
    soon__lock_release(&pool->lock);
    if (due)
        soon__monitor_poke(pool);
}

void soon__op_assist(soon_executor *ex, soon_future *f, soon_ns deadline)
{
    struct pool *pool = (struct pool *)ex;
    soon_ns end = soon__now() + SOON__SPIN_NS;

    if (!soon__spin_pays() || soon_callbacks_due() || !soon__lock_try(&pool->collecting))
        return;
    bool before = soon_callbacks_defer();
    struct seat *seat = find_seat(pool, f);
    if (seat) {
        watch(seat, f, end < deadline ? end : deadline);
        while (set_bell(seat))
            soon__collect_seat(seat);
    }
    hand_callbacks_over(pool, before);
    soon__lock_release(&pool->collecting);
    soon__wake_owed();
}
