/* SPDX-License-Identifier: MIT */
/*
 * The monitor: the thread that collects results, hears of births and deaths,
 * and keeps the time.
 *
 * It sleeps in epoll, on the workers' bells, the nursery's reports and a
 * descriptor that threads of the program poke. Before it sleeps it sets the
 * bells and looks once more (channel.h). While some task is out it looks
 * again after TICK all the same: a worker may be stopped, or out of its mind. A
 * pool that has been idle for that long never wakes up.
 *
 * Callbacks are the program's: they may take their time, or wait for another
 * task of this pool. So the thread that has made some due hands the lead over
 * to another, runs them, and then waits to lead again. One spare is kept.
 */
#include "process_pool/pool.h"

#include "os/event.h"
#include "os/patience.h"
#include "os/poll.h"

#include <errno.h>
#include <string.h>

static const soon_ns tick = SOON_MS(100);

/* ---- being told ---- */

void soon__monitor_poke(struct pool *pool)
{
    soon__event_set(pool->poke_fd);
}

void soon__monitor_by(struct pool *pool, soon_ns when)
{
    if (pool->watching && when < pool->wake_at)
        soon__monitor_poke(pool);
}

/* ---- time ---- */

/* A worker that has done this one is past all before it, of which the first can
 * then be collected. */
static void check_order(struct seat *seat, const struct entry *entry)
{
    if (!entry->future || soon__is_ready(seat))
        return;
    seat->corrupt = "tasks that ended out of order";
    soon__seat_doom(seat, REASON_CORRUPT, SIGKILL);
}

static void check_timeout(struct seat *seat, soon_ns now)
{
    struct entry *entry = soon__current(seat);

    if (!entry || !entry->timeout || seat->phase != SEAT_OPEN)
        return;
    soon__note_begun(seat);
    if (now < entry->deadline)
        return;
    if (!soon__is_stuck_at(seat, entry->position)) {
        check_order(seat, entry);
        return;
    }
    /* relaxed: a flag without data. */
    atomic_store_explicit(&soon__slot_at(entry)->asked, 1, memory_order_relaxed);
    soon__seat_doom(seat, REASON_TIMEOUT, SIGTERM);
    seat->kill_at = soon__deadline(seat->pool->kill_grace);
}

static void check_kill(struct seat *seat, soon_ns now)
{
    if (now < seat->kill_at)
        return;
    seat->kill_at = SOON__NEVER;
    soon__seat_doom(seat, seat->reason, SIGKILL);
}

/* Workers without a task may have one to get, too. */
static void send_signals(struct pool *pool)
{
    if (!pool->unsent)
        return;
    pool->unsent = false;
    for (unsigned i = 0; i < pool->n_seats; i++)
        soon__seat_signal(pool->seats[i]);
}

static void look(struct pool *pool)
{
    soon_ns now = soon__now();
    bool news = false;

    soon__lock_acquire(&pool->lock);
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        if (pool->want_begins)
            news |= soon__note_begun(seat);
        check_timeout(seat, now);
        check_kill(seat, now);
    }
    send_signals(pool);
    if (news)
        pool->want_begins = false; /* who still waits asks again */
    soon__check_stuck(pool, now);
    pool->stalled = false;
    soon__pump(pool);
    void *orphans = pool->orphans;
    pool->orphans = NULL;
    bool hopeless = soon__is_hopeless(pool);
    bool more = pool->queue.count;
    int error = pool->start_error;
    soon__lock_release(&pool->lock);
    if (!more) /* tasks may have left the queue in other ways than by being collected */
        soon__wake_owed();
    soon_callbacks_put(orphans);
    if (hopeless)
        soon__break(pool, "no worker could be started any more: %s", strerrordesc_np(-error));
}

static soon_ns earlier(soon_ns a, soon_ns b)
{
    return a < b ? a : b;
}

static soon_ns next_look(struct pool *pool)
{
    soon_ns when = SOON__NEVER;

    if (pool->busy || pool->lively)
        when = soon__now() + tick;
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        struct entry *entry = soon__current(seat);
        when = earlier(when, seat->kill_at);
        if (entry && entry->timeout && seat->phase == SEAT_OPEN)
            when = earlier(when, entry->deadline); /* NEVER until it is known to have begun */
    }
    if (pool->stuck_at)
        when = earlier(when, pool->stuck_at);
    if (pool->unsent)
        when = earlier(when, soon__now() + SOON__RESEND_NS);
    if (soon_callbacks_due())
        when = earlier(when, pool->hand_over_at);
    if (pool->queue.count && pool->start_after && pool->n_workers < pool->max_workers &&
        !pool->broken && !pool->stopped)
        when = earlier(when, pool->start_after);
    return when;
}

/* ---- sleeping ---- */

/* Sets the bells, and looks once more. True: there is something to collect. */
static bool set_bells(struct pool *pool)
{
    bool ready = false;

    soon__lock_acquire(&pool->lock);
    pool->watching = true;
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy) {
        struct entry *entry = soon__current(seat);
        bool begins = pool->want_begins || (entry && entry->timeout && !entry->begun);
        /* seq_cst: the bell's Dekker pair. */
        atomic_store(&seat->segment->channel->bell, begins ? SOON__BELL_BEGINS : SOON__BELL_ENDS);
        ready |= soon__is_ready(seat);
        if (begins)
            soon__note_begun(seat);
    }
    pool->wake_at = next_look(pool);
    soon__lock_release(&pool->lock);
    return ready;
}

/* Sleeps until something happens; true if there may be reports. */
static bool sleep_well(struct pool *pool)
{
    uint64_t tokens[16];
    unsigned n = 0;
    bool reports = false;

    bool ready = set_bells(pool);
    if (!ready)
        n = soon__poll_wait(pool->poll_fd, tokens, 16, pool->wake_at);
    for (unsigned i = 0; i < n; i++) {
        if (tokens[i] == TOKEN_POKE)
            soon__event_clear(pool->poke_fd);
        reports |= tokens[i] != TOKEN_BELL; /* the nursery's end is poked */
    }
    soon__lock_acquire(&pool->lock);
    pool->watching = false;
    if (!ready && n == 0 && !pool->busy)
        pool->lively = false; /* the next task has to wake the monitor */
    soon__lock_release(&pool->lock);
    return reports;
}

/* ---- the end ---- */

/* What is still in flight is being cancelled, or run by its submitter, which
 * may take its time: then it is looked at again at each tick. */
static bool is_drained(struct pool *pool)
{
    if (soon_executor_drain(&pool->ex, soon__now() + SOON_MS(1)) == 0)
        return true;
    soon__lock_acquire(&pool->lock);
    pool->lively = true;
    soon__lock_release(&pool->lock);
    return false;
}

/* Nothing is queued or handed out, and nothing will come. */
static bool is_over(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    bool quiet = pool->closing && !pool->queue.count && !pool->busy;
    unsigned n = pool->n_workers;
    soon__lock_release(&pool->lock);
    if (!quiet || !is_drained(pool))
        return false;
    if (n == 0)
        return true;
    soon__lock_acquire(&pool->lock);
    for (unsigned i = 0; i < pool->n_seats; i++)
        soon__seat_finish(pool->seats[i]);
    soon__lock_release(&pool->lock);
    return false;
}

/* False: there is none. has_spare and the baton change together, under the
 * lock, so that the baton which a thread found when it became the spare is
 * passed to it, once. */
static bool wake_spare(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    bool has_spare = pool->has_spare;
    pool->has_spare = false;
    if (has_spare)
        atomic_fetch_add(&pool->baton, 1);
    soon__lock_release(&pool->lock);
    if (has_spare)
        soon__futex_wake(&pool->baton, 1);
    return has_spare;
}

static void dismiss_spare(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    pool->over = true;
    pthread_t spare = pool->spare;
    soon__lock_release(&pool->lock);
    if (wake_spare(pool))
        pthread_join(spare, NULL);
}

static void end(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    pool->nursery_up = false;
    soon__lock_release(&pool->lock);
    soon__nursery_close(&pool->nursery);
    dismiss_spare(pool);
    soon__lock_acquire(&pool->lock);
    pool->last = pthread_self();
    pool->has_last = true;
    soon__lock_release(&pool->lock);
    atomic_store(&pool->gone, 1);
    soon__futex_wake(&pool->gone, INT32_MAX);
    soon_executor_release(&pool->ex);
}

int soon__monitor_join(struct pool *pool, soon_ns deadline)
{
    soon_ns until = deadline < 0 ? SOON__NEVER : deadline;

    while (atomic_load(&pool->gone) == 0)
        if (soon__futex_wait(&pool->gone, 0, until) != 0)
            return -ETIMEDOUT;
    soon__lock_acquire(&pool->lock);
    bool mine = pool->has_last && !pool->joining;
    pool->joining = true;
    soon__lock_release(&pool->lock);
    if (mine) {
        pthread_join(pool->last, NULL);
        atomic_store(&pool->gone, 2);
        soon__futex_wake(&pool->gone, INT32_MAX);
    }
    while (atomic_load(&pool->gone) == 1)
        if (soon__futex_wait(&pool->gone, 1, until) != 0)
            return -ETIMEDOUT;
    return 0;
}

/* ---- leading ---- */

static void *run(void *arg);

/* Why a thread stops leading. */
enum stage { STAGE_CALLBACKS, STAGE_LAST_CALLBACKS, STAGE_OVER };

/* Callbacks are due: another thread takes the lead. False: none can be had. */
static bool hand_over(struct pool *pool)
{
    pthread_t thread;

    if (wake_spare(pool))
        return true;
    soon_executor_hold(&pool->ex);
    if (soon__thread_start(&thread, 0, run, pool) == 0)
        return true;
    soon_executor_release(&pool->ex);
    return false;
}

/* Callbacks of the last tasks may have come due in a thread that assisted. */
static bool last_callbacks(struct pool *pool)
{
    soon__lock_acquire(&pool->collecting);
    soon__lock_release(&pool->collecting);
    look(pool);
    return soon_callbacks_due();
}

/* What a worker had and gives back when the pool hands out nothing any more. */
static void flush_leftovers(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    bool any = (pool->stopped || pool->broken) && pool->queue.count;
    soon__lock_release(&pool->lock);
    if (any)
        soon__flush_pool(pool);
}

/* Leads until callbacks are due (but not before pool->hand_over_at), or until
 * the end. */
static enum stage lead(struct pool *pool)
{
    bool reports = true;
    unsigned passes = 0;

    for (;;) {
        soon__lock_acquire(&pool->collecting);
        bool any = soon__collect(pool);
        if (reports || ++passes % 16 == 0) /* births and deaths also when there is no rest */
            any |= soon__read_reports(pool);
        soon__lock_release(&pool->collecting);
        look(pool);
        flush_leftovers(pool);
        if (soon_callbacks_due() && soon__now() >= pool->hand_over_at)
            return STAGE_CALLBACKS;
        reports = false;
        if (any)
            continue;
        if (is_over(pool))
            return last_callbacks(pool) ? STAGE_LAST_CALLBACKS : STAGE_OVER;
        reports = sleep_well(pool);
    }
}

/* Waits to lead again; false if there is a spare already, or it is over. */
static bool wait_for_lead(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    uint32_t seen = atomic_load(&pool->baton);
    bool spare = !pool->has_spare && !pool->over;
    if (spare) {
        pool->has_spare = true;
        pool->spare = pthread_self();
    }
    soon__lock_release(&pool->lock);
    if (!spare) {
        pthread_detach(pthread_self());
        return false;
    }
    while (atomic_load(&pool->baton) == seen)
        soon__futex_wait(&pool->baton, seen, SOON__NEVER);
    soon__lock_acquire(&pool->lock);
    bool over = pool->over; /* whoever ends it joins this thread */
    soon__lock_release(&pool->lock);
    return !over;
}

/* Without a thread to lead meanwhile callbacks have to wait: one could wait
 * itself for what only this thread can bring about. At the end there is nothing
 * like that any more. False: this thread is needed no longer. */
static bool call_back(struct pool *pool, enum stage stage, bool *before)
{
    bool handed = hand_over(pool);

    if (!handed && stage == STAGE_CALLBACKS) {
        pool->hand_over_at = soon__now() + SOON_MS(10);
        return true;
    }
    soon__wake_owed(); /* they may take their time */
    soon_callbacks_resume(*before);
    *before = soon_callbacks_defer();
    return !handed || wait_for_lead(pool);
}

static void *run(void *arg)
{
    struct pool *pool = arg;
    bool before = soon_callbacks_defer();

    do {
        enum stage stage = lead(pool);
        if (stage == STAGE_OVER) {
            end(pool);
            return NULL;
        }
        if (!call_back(pool, stage, &before))
            break;
    } while (true);
    soon_callbacks_resume(before);
    soon_executor_release(&pool->ex);
    return NULL;
}

int soon__monitor_start(struct pool *pool)
{
    pthread_t thread;

    int error = soon__poll_add(pool->poll_fd, pool->poke_fd, TOKEN_POKE, false);
    if (!error)
        error = soon__poll_add(pool->poll_fd, pool->nursery.fd, TOKEN_REPORT, false);
    if (error)
        return error;
    soon_executor_hold(&pool->ex);
    error = soon__thread_start(&thread, 0, run, pool);
    if (error)
        soon_executor_release(&pool->ex);
    return error;
}
