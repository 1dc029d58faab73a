/* SPDX-License-Identifier: MIT */
/*
 * While tasks are quick, one worker alone runs what comes from outside.
 *
 * The tasks of one submitter begin in the order submitted. So two workers that
 * run quick ones take turns for each, and every turn waits for cache lines that
 * the other has just written, which takes longer than the task; and where there
 * is no CPU left for the second, it keeps the submitter from its own. One worker
 * alone is faster than two, let alone than 64.
 *
 * Who has run a share at less than QUICK_NS a task becomes the runner. Others that
 * look for work then leave what comes from outside to it. One of them watches it:
 * it naps, and looks from time to time how far the runner has come. To all others
 * it is a worker that searches (idle.c): who brings work relies on it to look, and
 * wakes nobody. The rest sleep, though there is work.
 *
 * It ends when the runner has no work left and sleeps, when it waits for another
 * future, and when its tasks are not quick. That it sees at the end of a share, and
 * the watcher at the end of a nap, if the runner has not come as far as it should
 * have. From then on everybody joins in again, as if nothing had been. So what is
 * behind a task that takes long, or for ever, may begin late by a nap. One share that
 * took up to FORGIVEN times too long is forgiven: it may be the CPU that was away, for
 * an interrupt or a host's own ends, some hundred times a second. Two in a row are not.
 *
 * Where quick tasks are mixed with long ones, a runner is soon at a long one again, and
 * meanwhile nobody runs the quick ones. So when one was found slow there is none for
 * PAUSE times as long as that took.
 *
 * Each nap takes a CPU from somebody when it ends. It is NAP_NS long, or a SHARE of
 * the time for which the pool has been calm, up to NAP_MAX_NS: since its first runner,
 * or since one was found slow.
 *
 * No task is left lying, as schedule.c has it. Who sleeps though there is work has
 * seen, under the lock, that another searches. Who searches no more looks, under
 * the same lock: it goes on watching, or it takes a task and has another woken for
 * what it leaves, or there is no runner, and it sleeps only if there is no work. A
 * nap ends by itself, whatever the runner does. And there is no runner without the
 * worker: it is none any more when it sleeps, waits or leaves.
 *
 * When the runner sleeps nobody relies on the watcher any more, though its nap goes
 * on: what comes then wakes a worker, or the watcher. If there is a runner again before
 * the nap ends the watcher watches that. Else it sleeps as all idle workers do: an idle
 * pool does not wake up.
 */
#include "thread_pool/pool.h"

#include "os/clock.h"
#include "os/patience.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

/* ns for a task, all told. More where all take longer, so that there are runners, too. */
#ifndef SOON__QUICK_NS
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__ || \
    __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SOON__QUICK_NS 20000
#else
#define SOON__QUICK_NS 250
#endif
#endif

#ifndef SOON__QUICK_TASKS
#define SOON__QUICK_TASKS 16 /* of a share, to judge by */
#endif

enum { SLACK = 2, FORGIVEN = 4, NAP_NS = 200000, NAP_MAX_NS = 1000000, SHARE = 16, PAUSE = 4 };

static bool is_quick(uint64_t tasks, soon_ns took)
{
    return took < (soon_ns)tasks * SOON__QUICK_NS;
}

/* Who brings work relies on it to look at the end of its nap. */
static void search_watching(struct worker *watcher)
{
    watcher->relays = true;
    soon__start_searching(watcher);
}

/* ---- the runner ---- */

void soon__end_runner(struct pool *pool, const struct worker *runner)
{
    if (pool->runner != runner)
        return;
    pool->runner = NULL;
    soon__rouse_watcher(pool);
}

void soon__rest_runner(struct pool *pool, const struct worker *runner)
{
    if (pool->runner != runner)
        return;
    pool->runner = NULL;
    if (pool->watcher)
        soon__stop_searching(pool->watcher);
}

static void begin_runner(struct worker *self, soon_ns now)
{
    struct pool *pool = self->pool;

    pool->runner = self;
    if (!pool->calm_since)
        pool->calm_since = now;
    if (pool->watcher && !pool->watcher->searching)
        search_watching(pool->watcher);
}

/* It has not been quick for so long. */
static void depose(struct pool *pool, const struct worker *runner, soon_ns now, soon_ns took)
{
    pool->calm_since = now;
    pool->no_runner_until = now + PAUSE * took;
    soon__end_runner(pool, runner);
}

void soon__judge_share(struct worker *self, size_t next)
{
    struct pool *pool = self->pool;
    /* relaxed: its own. */
    uint64_t begun = atomic_load_explicit(&self->begun, memory_order_relaxed);
    uint64_t n = begun - self->share_from; /* others may have taken some */
    bool judge = self->has_share;

    self->has_share = next >= SOON__QUICK_TASKS;
    if (!judge && !self->has_share)
        return;
    soon_ns now = soon__now();
    soon_ns took = now - self->share_began;
    bool slow = judge && !is_quick(SLACK * n, took);
    if (slow && pool->runner == self && (self->was_slow || !is_quick(FORGIVEN * SLACK * n, took)))
        depose(pool, self, now, took);
    else if (judge && !pool->runner && n >= SOON__QUICK_TASKS && is_quick(n, took) &&
             now >= pool->no_runner_until)
        begin_runner(self, now);
    self->was_slow = slow;
    self->share_from = begun;
    self->share_began = now;
}

/* ---- the watcher ---- */

/* Has the runner come as far as it should have, since the watcher looked? If there
 * is no work left, anything will do. */
static bool keeps_pace(const struct worker *self, uint64_t begun, soon_ns now)
{
    uint64_t n = begun - self->seen_begun;

    return n && (is_quick(SLACK * n, now - self->seen_at) || !soon__has_work(self->pool));
}

bool soon__leave_to_runner(struct worker *self)
{
    struct pool *pool = self->pool;
    struct worker *runner = pool->runner;
    bool watched = pool->watcher == self;

    if (watched)
        pool->watcher = NULL;
    if (!runner || runner == self)
        return false;
    soon_ns now = soon__now();
    /* relaxed: a figure, of about now. */
    uint64_t begun = atomic_load_explicit(&runner->begun, memory_order_relaxed);
    if (watched && !keeps_pace(self, begun, now)) {
        depose(pool, runner, now, now - self->seen_at);
        return false;
    }
    self->seen_begun = begun;
    self->seen_at = now;
    return true;
}

void soon__start_watching(struct worker *self)
{
    struct pool *pool = self->pool;

    pool->watcher = self;
    /* relaxed: it changes under the lock. */
    self->ticket = atomic_load_explicit(&pool->rouse, memory_order_relaxed);
    self->calm_since = pool->calm_since;
    search_watching(self);
}

void soon__nap_watching(const struct worker *self)
{
    soon_ns nap = (self->seen_at - self->calm_since) / SHARE;

    if (nap < NAP_NS)
        nap = NAP_NS;
    if (nap > NAP_MAX_NS)
        nap = NAP_MAX_NS;
    soon__work_ends();
    soon__futex_wait(&self->pool->rouse, self->ticket, self->seen_at + nap);
    soon__work_begins();
}

void soon__rouse_watcher(struct pool *pool)
{
    if (!pool->watcher)
        return;
    /* relaxed: it changes under the lock, under which the ticket was drawn. */
    atomic_fetch_add_explicit(&pool->rouse, 1, memory_order_relaxed);
    soon__futex_wake(&pool->rouse, 1);
}

bool soon__call_watcher(struct pool *pool)
{
    if (!pool->watcher || pool->watcher->searching)
        return false;
    search_watching(pool->watcher);
    soon__rouse_watcher(pool);
    return true;
}
