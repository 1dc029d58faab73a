/* SPDX-License-Identifier: MIT */
/*
 * A worker has died: what that means for its task, for those that were handed
 * ahead, and for the pool.
 *
 * The task that it ran fails, and is never run again. What it had not begun
 * goes back to the front of the queue. Which is which the slots' states say:
 * the swap that takes a task back works on a dead worker as on a live one, and
 * what can't be taken back has begun.
 */
#include "process_pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 512 };

/* ---- in words ---- */

static void describe_end(char *text, size_t size, const struct seat *seat, struct soon__exit how)
{
    const char *name = how.signal ? sigabbrev_np(how.signal) : NULL;
    const pid_t pid = seat->pid;

    if (seat->beyond)
        snprintf(text, size, "worker %d, which can't be killed (%s), was given up", (int)pid,
                 strerrordesc_np(-seat->beyond));
    else if (name)
        snprintf(text, size, "worker %d died of SIG%s", (int)pid, name);
    else if (how.signal)
        snprintf(text, size, "worker %d died of signal %d", (int)pid, how.signal);
    else
        snprintf(text, size, "worker %d exited with status %d%s", (int)pid, how.code,
                 how.code == SOON__EXIT_LOST ? ", as one does whose descriptors a task has closed"
                                             : "");
}

static void describe_task(char *text, size_t size, const soon_future *f)
{
    char function[TEXT / 2];
    soon_task task;

    soon_future_task(f, &task);
    snprintf(text, size, "'%.200s'",
             task.name ? task.name : soon__function_name(task.fn, function, sizeof function));
}

/* Why the task failed that the worker of a seat ran. */
static void describe(char *text, size_t size, const struct seat *seat, struct soon__exit how,
                     const soon_future *f)
{
    char end[TEXT / 4], task[TEXT / 2];
    const char *why = "";

    describe_end(end, sizeof end, seat, how);
    describe_task(task, sizeof task, f);
    if (seat->reason == REASON_NURSERY)
        why = "; the nursery, its parent, had been killed";
    if (seat->reason == REASON_STOPPED)
        why = "; the pool's workers were told to end";
    if (seat->reason == REASON_CORRUPT)
        snprintf(text, size, "%s while running %s: it had written nonsense into its channel (%s)",
                 end, task, seat->corrupt);
    else
        snprintf(text, size, "%s while running %s%s", end, task, why);
}

/* ---- its task ---- */

static void fail_task(const struct seat *seat, struct soon__exit how, const struct entry *entry)
{
    char text[TEXT], end[TEXT / 4], task[TEXT / 2];
    bool late = seat->reason == REASON_TIMEOUT && entry->timeout;
    soon_error error = {
        .code = late ? -ETIME : -EOWNERDEAD,
        .origin = late ? SOON_FROM_LIBRARY : SOON_FROM_WORKER,
        .signal = how.signal,
        .exit_code = how.code,
        .message = text,
    };

    describe(text, sizeof text, seat, how, entry->future);
    if (late) {
        describe_end(end, sizeof end, seat, how);
        describe_task(task, sizeof task, entry->future);
        snprintf(text, sizeof text, "%s ran past its timeout of %lld ms; %s", task,
                 (long long)(entry->timeout / 1000000), end);
    }
    soon_future_set_failure(entry->future, &error);
}

/* Marks what could not be taken back, so that nobody else completes it; and from
 * here on why the worker ended is settled, and read without the lock. */
static void mark(struct seat *seat)
{
    soon__lock_acquire(&seat->pool->lock);
    seat->gone = true;
    for (uint32_t p = seat->head; p != seat->tail; p++)
        soon__entry_at(seat, p)->over = true;
    soon__lock_release(&seat->pool->lock);
}

/* Fails what has begun; the references in lost are to be dropped. The number
 * of them. */
static unsigned fail_tasks(struct seat *seat, struct soon__exit how, soon_future **lost)
{
    unsigned n = 0;

    for (uint32_t p = seat->head; p != seat->tail; p++) {
        struct entry *entry = soon__entry_at(seat, p);
        if (!entry->future)
            continue;
        fail_task(seat, how, entry);
        lost[n++] = entry->future;
    }
    return n;
}

/* ---- the pool ---- */

/* Erlang's rule: max_restarts within restart_window, and the next one is too
 * many. deaths is a ring of the last ones. */
static bool is_too_many(struct pool *pool)
{
    soon_ns now = soon__now();

    if (pool->max_restarts == 0)
        return true;
    if (pool->max_restarts > RESTARTS_MAX)
        return false;
    soon_ns *oldest = &pool->deaths[pool->next_death++ % pool->max_restarts];
    bool many = *oldest && now - *oldest <= pool->restart_window;
    *oldest = now;
    return many;
}

static void stop_all(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    for (unsigned i = 0; i < pool->n_seats; i++)
        soon__seat_doom(pool->seats[i], REASON_STOPPED, SIGKILL);
    soon__lock_release(&pool->lock);
}

static void count_death(struct pool *pool, const char *what)
{
    soon__lock_acquire(&pool->lock);
    bool many = is_too_many(pool);
    soon__lock_release(&pool->lock);
    if (pool->break_on_death) {
        soon__break(pool, "%s", what);
        stop_all(pool);
    } else if (many) {
        soon__break(pool, "more than %u workers died within %.3g s; the last: %s",
                    pool->max_restarts, (double)pool->restart_window / 1e9, what);
    }
}

/* Did it die of itself? */
static bool is_crash(const struct seat *seat, struct soon__exit how)
{
    return seat->reason == REASON_CRASH || seat->reason == REASON_CORRUPT ||
           seat->reason == REASON_NURSERY ||
           (seat->reason == REASON_FINISH && (how.signal || how.code));
}

static void what_happened(char *text, size_t size, struct seat *seat, struct soon__exit how)
{
    struct entry *entry = seat->head == seat->tail ? NULL : soon__entry_at(seat, seat->head);

    if (entry && entry->future) {
        describe(text, size, seat, how, entry->future);
        return;
    }
    describe_end(text, size, seat, how);
    if (entry && entry->errand != SOON__ERRAND_TASK)
        strncat(text, seat->reason == REASON_FINISH ? " in its finalizer" : " in its initializer",
                size - strlen(text) - 1);
}

/* The figures, and the end of the pool if this is it, come before the task is
 * failed: who has seen that finds them. */
static void judge(struct seat *seat, struct soon__exit how)
{
    struct pool *pool = seat->pool;
    char text[TEXT];

    what_happened(text, sizeof text, seat, how);
    bool crash = is_crash(seat, how);
    soon__lock_acquire(&pool->lock);
    pool->n_crashed += crash;
    pool->n_replaced +=
        seat->reason == REASON_FINISH && pool->max_tasks && seat->n_given >= pool->max_tasks;
    soon__lock_release(&pool->lock);
    /* The death of the nursery is one. A worker that is given up counts as well,
     * or else processes that nobody can end could become any number. */
    if ((crash && seat->reason != REASON_NURSERY) || seat->beyond)
        count_death(pool, text);
}

void soon__bury(struct seat *seat, struct soon__exit how)
{
    struct pool *pool = seat->pool;
    soon_future *lost[SOON__RING];

    soon__lock_acquire(&pool->lock);
    soon__seat_doom(seat, REASON_CRASH, 0); /* from here on it is handed nothing more */
    soon__lock_release(&pool->lock);
    while (soon__collect_seat(seat))
        ;
    mark(seat);
    judge(seat, how);
    unsigned n = fail_tasks(seat, how, lost);
    soon__lock_acquire(&pool->lock);
    soon_future *killed = seat->killed;
    seat->killed = NULL;
    soon__seat_vacate(seat);
    soon__pump(pool);
    soon__lock_release(&pool->lock);
    soon_future_unref(killed);
    while (n)
        soon_future_unref(lost[--n]);
}

void soon__bury_all(struct pool *pool)
{
    struct soon__exit killed = {.signal = SIGKILL};

    count_death(pool, "the nursery, from which workers are started, was killed");
    soon__lock_acquire(&pool->lock);
    for (unsigned i = 0; i < pool->n_seats; i++) {
        struct seat *seat = pool->seats[i];
        soon__seat_doom(seat, REASON_NURSERY, SIGKILL);
        bool taken = seat->phase != SEAT_VACANT;
        soon__lock_release(&pool->lock);
        if (taken)
            soon__bury(seat, killed);
        soon__lock_acquire(&pool->lock);
    }
    soon__lock_release(&pool->lock);
}
