/* SPDX-License-Identifier: MIT */
/*
 * What the nursery tells: births, failed ones, deaths, and its own end.
 */
#include "process_pool/pool.h"

#include "os/own_fd.h"
#include "os/poll.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 5 }; /* to make a nursery */

/* Descriptors, memory or processes that others have taken may come free again. */
static const soon_ns hope = SOON_SECONDS(5);

static struct seat *seat_of(struct pool *pool, struct soon__berth berth)
{
    struct seat *seat = berth.seat < pool->n_seats ? pool->seats[berth.seat] : NULL;

    return seat && seat->phase != SEAT_VACANT && seat->generation == berth.generation ? seat : NULL;
}

static void tell_births(struct pool *pool)
{
    atomic_fetch_add(&pool->births, 1);
    soon__futex_wake(&pool->births, INT32_MAX);
}

static void born(struct pool *pool, const struct soon__report *report)
{
    soon__lock_acquire(&pool->lock);
    struct seat *seat = seat_of(pool, report->berth);
    if (!seat || seat->pid) {
        soon__lock_release(&pool->lock);
        close(report->pidfd);
        return;
    }
    seat->pid = report->pid;
    seat->pidfd = report->pidfd;
    soon__own_fd(seat->pidfd);
    pool->n_alive++;
    soon__seat_started(seat);
    pool->failed_row = 0;
    soon__seat_signal(seat);
    soon__lock_release(&pool->lock);
    tell_births(pool);
}

void soon__start_failed(struct pool *pool, int error)
{
    enum { STEPS = 6 };
    const soon_ns now = soon__now();

    /* A row that nobody has gone on with for a while is over. */
    if (pool->failed_row && now > pool->start_after + SOON_SECONDS(1))
        pool->failed_row = 0;
    if (pool->failed_row == 0)
        pool->failing_since = now;
    pool->start_error = error;
    pool->start_after =
        now + (SOON_MS(20) << (pool->failed_row < STEPS ? pool->failed_row : STEPS));
    pool->failed_row++;
    soon__monitor_by(pool, pool->start_after);
}

bool soon__is_hopeless(const struct pool *pool)
{
    return pool->failed_row && !pool->n_workers && pool->queue.count && !pool->broken &&
           soon__now() >= pool->failing_since + hope;
}

/* No process, or one that is killed at once, in the middle of a task perhaps:
 * what it has not begun goes back, and after a while somebody tries again. */
static void not_born(struct pool *pool, const struct soon__report *report)
{
    soon__lock_acquire(&pool->lock);
    struct seat *seat = seat_of(pool, report->berth);
    if (seat) {
        soon__seat_doom(seat, REASON_KILLED, 0);
        pool->failed_starts++;
        soon__start_failed(pool, report->error);
    }
    soon__lock_release(&pool->lock);
    if (seat)
        soon__bury(seat, (struct soon__exit){.signal = SIGKILL});
    tell_births(pool);
}

static void died(struct pool *pool, const struct soon__report *report)
{
    soon__lock_acquire(&pool->lock);
    struct seat *seat = seat_of(pool, report->berth);
    soon__lock_release(&pool->lock);
    if (seat)
        soon__bury(seat, report->how);
}

/* Nobody may end it by force: the pool goes on without it. */
static void stays(struct pool *pool, const struct soon__report *report)
{
    soon__lock_acquire(&pool->lock);
    struct seat *seat = seat_of(pool, report->berth);
    if (seat)
        seat->beyond = report->error;
    soon__lock_release(&pool->lock);
    if (seat)
        soon__bury(seat, (struct soon__exit){0});
}

/* A nursery may be killed while it starts, too, or there may be no room for it
 * just now. */
static int reopen(struct pool *pool)
{
    int error = soon__nursery_reopen(&pool->nursery);

    for (int i = 0; i < TRIES && error; i++) {
        soon__futex never = 0;
        soon__futex_wait(&never, 0, soon__now() + (SOON_MS(5) << i));
        error = soon__nursery_reopen(&pool->nursery);
    }
    return error;
}

/* Its workers have gone with it. A new one is made, of the program as it is
 * now. */
static void nursery_gone(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    pool->nursery_up = false;
    soon__lock_release(&pool->lock);
    soon__bury_all(pool);
    int error = reopen(pool);
    if (!error)
        error = soon__poll_add(pool->poll_fd, pool->nursery.fd, TOKEN_REPORT, false);
    soon__lock_acquire(&pool->lock);
    pool->nursery_up = !error;
    pool->start_error = error;
    pool->start_after = 0;
    if (!error)
        soon__pump(pool);
    soon__lock_release(&pool->lock);
    tell_births(pool);
    if (error)
        soon__break(pool, "the nursery is gone, and no new one can be made: %s",
                    strerrordesc_np(-error));
}

bool soon__read_reports(struct pool *pool)
{
    struct soon__report report;
    bool any = false;
    int error = -EAGAIN;

    while (pool->nursery_up && (error = soon__nursery_read(&pool->nursery, &report)) == 0) {
        any = true;
        if (report.kind == SOON__REPORT_BORN)
            born(pool, &report);
        else if (report.kind == SOON__REPORT_FAILED)
            not_born(pool, &report);
        else if (report.kind == SOON__REPORT_STAYS)
            stays(pool, &report);
        else
            died(pool, &report);
    }
    if (error == -EAGAIN)
        return any;
    nursery_gone(pool);
    return true;
}
