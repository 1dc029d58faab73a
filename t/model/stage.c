/* SPDX-License-Identifier: MIT */
#include "stage.h"

#include <errno.h>
#include <string.h>

struct pool pool;
struct worker workers[WORKERS];
soon_future tasks[TASKS];
_Atomic int state[TASKS];
bool workers_leave;
atomic_bool started;
unsigned role[MODEL_THREADS];
static _Atomic int left; /* tasks to be run before the pool closes */

_Static_assert(SOON__DEQUE_SIZE < TASKS, "the model wants a deque that overflows");

/* ---- the rest of the library ---- */

bool soon__spin_pays(void)
{
    return true;
}

void soon__spin_for(soon_ns ns, bool (*ready)(const void *data), const void *data)
{
    (void)ns;
    ready(data);
}

static unsigned number_of(const soon_future *f)
{
    return (unsigned)(f - tasks);
}

/* True if this call moved it on from PENDING. */
bool stage_end(const soon_future *f, int as)
{
    int seen = PENDING;

    return atomic_compare_exchange_strong_explicit(&state[number_of(f)], &seen, as,
                                                   memory_order_acq_rel, memory_order_acquire);
}

bool soon_future_cancel(soon_future *f)
{
    return stage_end(f, CANCELLED);
}

int soon_future_set_failure(soon_future *f, const soon_error *error)
{
    (void)f, (void)error;
    model_expect(false, "no pool breaks here");
    return 0;
}

void soon_future_unref(soon_future *f)
{
    (void)f;
}

soon_future *soon_future_next(const soon_future *f)
{
    return f->next;
}

/* Of a sweep, which takes more tasks than there are here. */
bool soon_future_unclaimed(const soon_future *f)
{
    return atomic_load(&state[number_of(f)]) == PENDING;
}

/* By a submitter that finds no worker awake, as none can be started. */
bool soon_future_run(soon_future *f)
{
    model_expect(atomic_load(&pool.ending) != POOL_OPEN, "some worker is awake all the time");
    return stage_end(f, CLAIMED);
}

bool soon_executor_inherited(const soon_executor *ex)
{
    (void)ex;
    return false;
}

void soon__tell_released(soon_executor *ex)
{
    (void)ex;
}

int soon_executor_drain(soon_executor *ex, soon_ns timeout)
{
    (void)ex, (void)timeout;
    return 0;
}

bool soon_callbacks_defer(void)
{
    return false;
}

void soon_callbacks_resume(bool before)
{
    (void)before;
}

int soon__worker_start(struct pool *of)
{
    if (workers_leave) { /* a new one would find what there is */
        atomic_store(&started, true);
        of->n_staying++;
        return 0;
    }
    /* Those that leave an ending pool may be missed by who has just submitted. */
    model_expect(atomic_load(&pool.ending) != POOL_OPEN, "all workers have been started");
    return -EAGAIN;
}

/* ---- a pool with its workers ---- */

static void bind_worker(struct worker *w)
{
    MODEL_BIND(w->deque.top, "top");
    MODEL_BIND(w->deque.bottom, "bottom");
    for (int i = 0; i < SOON__DEQUE_SIZE; i++)
        MODEL_BIND(w->deque.slot[i], "slot");
    MODEL_BIND(w->awake, "awake");
    MODEL_BIND(w->deque.taking, "taking");
    MODEL_BIND(w->stolen, "stolen");
    MODEL_BIND(w->begun, "begun");
}

static void bind_pool(void)
{
    MODEL_BIND(pool.inbox.hint, "hint");
    MODEL_BIND(pool.inbox.seen, "seen");
    MODEL_BIND(pool.inbox.head, "head");
    for (int i = 0; i < SOON__INBOX_SIZE; i++)
        MODEL_BIND(pool.inbox.slot[i], "inbox");
    MODEL_BIND(pool.queued, "queued");
    MODEL_BIND(pool.urgent, "urgent");
    MODEL_BIND(pool.stale, "stale");
    MODEL_BIND(pool.helpers, "helpers");
    MODEL_BIND(pool.rouse, "rouse");
    MODEL_BIND(pool.n_swift, "n_swift");
    MODEL_BIND(pool.flushers.members, "flushers");
    MODEL_BIND(pool.ending, "ending");
    for (unsigned i = 0; i < TASKS; i++)
        MODEL_BIND(state[i], "state");
    MODEL_BIND(left, "left");
    MODEL_BIND(started, "started");
}

void stage_pool(unsigned n_workers, unsigned n_tasks)
{
    model_swift_after = 0;
    workers_leave = false;
    atomic_init(&started, false);
    soon__backlog_free(&pool.queue); /* of the run before */
    memset(&pool, 0, sizeof pool);
    soon__inbox_init(&pool.inbox);
    memset(workers, 0, sizeof workers);
    memset(tasks, 0, sizeof tasks);
    pool.max_workers = pool.min_workers = pool.n_workers = n_workers;
    pool.n_staying = pool.cpus = n_workers;
    pool.idle_timeout = SOON_FOREVER;
    for (unsigned i = n_workers; i--;) {
        workers[i].pool = &pool;
        workers[i].deque.wanted = &pool.helpers;
        workers[i].deque.attend = soon__attend;
        workers[i].deque.executor = &pool.ex;
        workers[i].deque.n_swift = &pool.n_swift;
        workers[i].next = pool.workers;
        pool.workers = &workers[i];
        bind_worker(&workers[i]);
    }
    for (unsigned i = 0; i < TASKS; i++)
        atomic_init(&state[i], PENDING);
    atomic_init(&left, (int)n_tasks);
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        role[i] = i < n_workers ? i : NONE;
    bind_pool();
}

void stage_resumed(unsigned self)
{
    soon__this_worker = role[self] == NONE ? NULL : &workers[role[self]];
}

bool stage_submit(unsigned i)
{
    model_write(i);
    return soon__schedule(&pool, &tasks[i], 1) == 0;
}

/* As the close op of pool.c. */
void stage_close(enum pool_end how)
{
    soon__lock_acquire(&pool.lock);
    atomic_store(&pool.ending, (int)how);
    soon__count_helpers(&pool);
    soon__lock_release(&pool.lock);
    if (how == POOL_CANCELLING)
        soon__flush(&pool);
    soon__wake_all(&pool);
}

/* As work() in worker.c. */
bool stage_turn(struct worker *self)
{
    bool leave;
    soon_future *f = soon__next_task(self, &leave);

    if (!f)
        return !leave;
    bool claimed = stage_end(f, CLAIMED);
    atomic_store_explicit(&self->deque.taking, false, memory_order_release);
    if (claimed) {
        model_read(number_of(f));
        if (atomic_fetch_sub(&left, 1) == 1)
            stage_close(POOL_CLOSED);
    }
    return true;
}

void stage_work(struct worker *self)
{
    while (stage_turn(self))
        ;
}
