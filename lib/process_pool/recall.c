/* SPDX-License-Identifier: MIT */
/*
 * Tasks on their way back from workers, and what else happens to one that is
 * out.
 *
 * A task that was handed ahead is taken back when its worker is stuck or dead,
 * when it is cancelled, and when something more urgent comes: by the swap from
 * QUEUED that channel.h explains, so that nothing is ever begun twice. What
 * can't be taken back has begun.
 *
 * An entry's future is cleared, under the lock, by whoever takes it away; who
 * finds it set there may rely on both. Not so while the entry is `over`: then
 * the future is its completer's.
 */
#include "process_pool/pool.h"

struct entry *soon__entry_of(const soon_future *f)
{
    struct entry *entry = soon_future_place(f);

    return entry && entry->future == f ? entry : NULL;
}

static bool is_in(const struct entry *entry, enum soon__phase phase)
{
    return atomic_load(&soon__slot_at(entry)->state) == soon__slot_state(entry->position, phase);
}

/* ---- and back ---- */

/* Takes one future back, if it has not begun: the caller gets the reference.
 * What the library has been told to have begun stays, whatever its slot says by
 * now: nobody would ever complete it. */
static soon_future *take_one(struct entry *entry)
{
    soon_future *f = entry->future;

    if (!f || entry->over || entry->begun ||
        (!entry->filling &&
         !soon__slot_turn(soon__slot_at(entry), entry->position, SOON__SLOT_REVOKED)))
        return NULL;
    entry->future = NULL;
    entry->revoked = true;
    entry->seat->n_revoked++;
    soon_future_set_place(f, NULL);
    entry->seat->n_live--;
    entry->seat->n_given--;
    return f;
}

/* From the last one on, so that they get back into their order. */
void soon__take_back(struct seat *seat)
{
    for (uint32_t p = seat->tail; p != seat->head;) {
        soon_future *f = take_one(soon__entry_at(seat, --p));
        if (f)
            soon_task_queue_return(&seat->pool->queue, f);
    }
    soon__seat_sort(seat);
}

void soon__take_back_below(struct pool *pool, int priority)
{
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        if (seat->n_live < 2)
            continue;
        for (uint32_t p = seat->tail; p != seat->head;) {
            struct entry *entry = soon__entry_at(seat, --p);
            soon_task task = {.priority = priority};
            if (entry->future && !entry->over)
                soon_future_task(entry->future, &task);
            soon_future *f = task.priority < priority ? take_one(entry) : NULL;
            if (f)
                soon_task_queue_return(&pool->queue, f);
        }
        soon__seat_sort(seat);
    }
}

bool soon__is_stuck_at(struct seat *seat, uint32_t position)
{
    soon__take_back(seat);
    return is_in(soon__entry_at(seat, position), SOON__SLOT_TAKEN);
}

/* ---- what has begun ---- */

/* What is over has a completer, who reads the entry without the lock. */
static void begin(struct entry *entry)
{
    if (entry->begun || entry->over)
        return;
    entry->begun = true;
    soon__seat_started(entry->seat);
    if (!entry->timeout)
        return;
    entry->deadline = is_in(entry, SOON__SLOT_DONE) ? soon__now() : soon__deadline(entry->timeout);
    soon__monitor_by(entry->seat->pool, entry->deadline);
}

static bool note(struct entry *entry)
{
    if (entry->begun || !entry->future)
        return false;
    begin(entry);
    /* False: somebody is cancelling it, and hears in recall that it runs. */
    return soon_future_set_running_or_notify_cancel(entry->future);
}

static bool has_begun(const struct entry *entry)
{
    return !entry->filling && (is_in(entry, SOON__SLOT_TAKEN) || is_in(entry, SOON__SLOT_DONE));
}

bool soon__note_begun(struct seat *seat)
{
    for (uint32_t p = seat->head; p != seat->tail; p++) {
        struct entry *entry = soon__entry_at(seat, p);
        if (entry->filling || is_in(entry, SOON__SLOT_QUEUED))
            return false;
        if (is_in(entry, SOON__SLOT_TAKEN)) /* one at a time */
            return note(entry);
    }
    return false;
}

/* ---- operations ---- */

/* Those too that have ended and are not collected yet: they are not pending. */
static void look_at_all(struct pool *pool)
{
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        /* seq_cst: the bell's Dekker pair. */
        atomic_store(&seat->segment->channel->bell, SOON__BELL_BEGINS);
        for (uint32_t p = seat->head; p != seat->tail; p++)
            if (has_begun(soon__entry_at(seat, p)))
                (void)note(soon__entry_at(seat, p));
    }
    pool->want_begins = true;
}

void soon__op_look(soon_executor *ex, soon_future *f)
{
    struct pool *pool = (struct pool *)ex;

    soon__lock_acquire(&pool->lock);
    struct entry *entry = f ? soon__entry_of(f) : NULL;
    if (entry && has_begun(entry))
        (void)note(entry);
    if (!f)
        look_at_all(pool);
    soon__lock_release(&pool->lock);
}

/* Leaves futures that are done out of a queue in which most are. */
static soon_future *sweep(struct pool *pool)
{
    enum { FEW = 64 };

    if (++pool->stale < FEW || pool->stale * 2 < pool->queue.count)
        return NULL;
    pool->stale = 0;
    pool->stalled = false;
    return soon_task_queue_sweep(&pool->queue);
}

bool soon__op_recall(soon_executor *ex, soon_future *f)
{
    struct pool *pool = (struct pool *)ex;
    soon_future *out = NULL;
    bool begun = false;

    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    if (entry && !(out = take_one(entry))) {
        begun = true;
        begin(entry); /* the canceller tells the library */
    }
    if (out)
        soon__seat_sort(entry->seat);
    if (!entry) /* in the queue, where it is left out by and by */
        out = sweep(pool);
    bool poke = pool->closing;
    soon__lock_release(&pool->lock);
    while (out) {
        soon_future *next = entry ? NULL : soon_future_next(out);
        soon_future_unref(out);
        out = next;
    }
    if (poke)
        soon__monitor_poke(pool);
    return !begun;
}

void soon__op_ask(soon_executor *ex, soon_future *f)
{
    struct pool *pool = (struct pool *)ex;

    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    if (entry)
        /* relaxed: a flag without data. */
        atomic_store_explicit(&soon__slot_at(entry)->asked, 1, memory_order_relaxed);
    soon__lock_release(&pool->lock);
}

/* The count says which place is the newest (port.c). What a reader finds in the
 * place of report c is from c, or from c + SOON__REPORTS or a later one; then
 * it sees the count of the report before that too, for the worker had stored it.
 * So a second look at the count, less than that far on, says that it is c's.
 * Else the worker has come round meanwhile, and the reader tries again, but not
 * for ever: the worker may be out of its mind. Of one that does nothing but
 * report, two places would keep a slow reader waiting: hence more. */
static bool read_progress(struct soon__slot *slot, uint64_t *done, uint64_t *total)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t count = atomic_load(&slot->progress_count);
        struct soon__progress *place = &slot->progress[count % SOON__REPORTS];
        if (count == 0)
            return false;
        /* acquire, both: not after the second look at the count. */
        *done = atomic_load_explicit(&place->done, memory_order_acquire);
        *total = atomic_load_explicit(&place->total, memory_order_acquire);
        if (atomic_load(&slot->progress_count) - count < SOON__REPORTS - 1)
            return true;
    }
    return false;
}

void soon__keep_progress(soon_future *f, struct soon__slot *slot)
{
    uint64_t done, total;

    if (read_progress(slot, &done, &total))
        soon_future_set_progress(f, done, total);
}

bool soon__op_progress(soon_executor *ex, soon_future *f, uint64_t *done, uint64_t *total)
{
    struct pool *pool = (struct pool *)ex;
    bool known = false;

    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    if (entry)
        known = read_progress(soon__slot_at(entry), done, total);
    soon__lock_release(&pool->lock);
    return known;
}

void soon__op_kill(soon_executor *ex, soon_future *f)
{
    struct pool *pool = (struct pool *)ex;
    soon_future *out = NULL;

    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    if (entry && !entry->over) {
        struct seat *seat = entry->seat;
        /* If the worker is past it already, it lives: its result comes too late. */
        bool runs = soon__is_stuck_at(seat, entry->position);
        if (runs)
            soon__seat_doom(seat, REASON_KILLED, SIGKILL);
        if (entry->future == f) {
            *(runs && !seat->killed ? &seat->killed : &out) = f;
            entry->future = NULL;
            soon_future_set_place(f, NULL);
            seat->n_live--;
            soon__seat_sort(seat);
        }
        soon__pump(pool);
    }
    soon__lock_release(&pool->lock);
    soon_future_unref(out);
    soon__monitor_poke(pool);
}
