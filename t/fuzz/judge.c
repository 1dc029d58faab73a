/* SPDX-License-Identifier: MIT */
/*
 * What must hold whatever the workers do. Looked at whenever the library has
 * run and sleeps or has returned:
 *
 *   - a task that its worker had not begun, as far as its slot says, has not
 *     failed with that worker, nor is it finished
 *   - a task that is finished had been delivered, and its result has the length
 *     that the slot gave, or its error the code
 *   - a result can be read to its end, and no two lie in the same place
 *   - the pool's account of itself adds up
 *
 * and in the end that each task is done, once. All of it is read through the
 * worker's own view of its channel, not through the host's.
 */
#include "fuzz.h"

#include "core/future.h"
#include "os/inject.h"

#include <errno.h>

struct fuzz_task fuzz_tasks[FUZZ_TASKS];
struct pool *fuzz_pool;
bool fuzz_ambushed;

/* ---- before ---- */

static struct fuzz_evidence evidence_of(const struct entry *entry)
{
    const struct fuzz_worker *w = &fuzz_workers[entry->seat->number];
    struct fuzz_evidence evidence = {.kind = FUZZ_NONSENSE};

    /* Its worker is dead: what it wrote is to be seen only from the host's side. */
    if (!entry->seat->segment)
        return evidence;
    const struct soon__slot *slot =
        w->life == FUZZ_NOBODY ? soon__slot_at(entry) : fuzz_slot(w, entry->position);
    uint32_t state = atomic_load(&slot->state);
    if (state == soon__slot_state(entry->position, SOON__SLOT_QUEUED) && !entry->begun)
        evidence.kind = FUZZ_FRESH;
    if (state == soon__slot_state(entry->position, SOON__SLOT_TAKEN))
        evidence.kind = FUZZ_TAKEN;
    if (state == soon__slot_state(entry->position, SOON__SLOT_DONE))
        evidence = (struct fuzz_evidence){.kind = FUZZ_DONE,
                                          .code = atomic_load(&slot->code),
                                          .len = atomic_load(&slot->value_len)};
    return evidence;
}

/* What is being completed has been read before, and may be something else by
 * now: what was seen then counts, if that was all that there was to see. */
static void note(struct fuzz_task *task)
{
    const struct entry *entry = soon__entry_of(task->future);

    if (!entry)
        task->evidence = (struct fuzz_evidence){.kind = FUZZ_FRESH};
    else if (!entry->over)
        task->evidence = evidence_of(entry);
    else if (fuzz_ambushed)
        task->evidence.kind = FUZZ_UNKNOWN;
}

void fuzz_note(void)
{
    fuzz_blind(true);
    for (int i = 0; i < FUZZ_TASKS; i++)
        if (fuzz_tasks[i].future && !fuzz_tasks[i].judged)
            note(&fuzz_tasks[i]);
    fuzz_ambushed = fuzz_is_any_interrupted();
    fuzz_blind(false);
}

/* ---- a task that is done ---- */

/* FNV-1a; what counts is that every byte is read. */
static uint64_t digest_of(const unsigned char *value, size_t len)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        digest = (digest ^ value[i]) * UINT64_C(0x100000001b3);
    return digest;
}

static bool is_in_area(const void *value)
{
    size_t size;

    return fuzz_mapping_at(value, &size) && size == SOON__VALUES_SIZE;
}

/* Of two results in one place one would change under its reader's eyes. */
static void check_apart(const struct fuzz_task *task, const unsigned char *value, size_t len)
{
    const void *other;
    size_t other_len;

    for (int i = 0; i < FUZZ_TASKS; i++) {
        const struct fuzz_task *t = &fuzz_tasks[i];
        if (t == task || !t->future || !t->judged ||
            soon_future_value(t->future, 0, &other, &other_len) != 0)
            continue;
        REQUIRE((uintptr_t)other - (uintptr_t)value >= len &&
                    (uintptr_t)value - (uintptr_t)other >= other_len,
                "two results lie in the same place");
    }
}

static void check_result(struct fuzz_task *task)
{
    const void *value;
    size_t len;

    REQUIRE(soon_future_value(task->future, 0, &value, &len) == 0, "there is a result");
    REQUIRE(value && (uintptr_t)value % 16 == 0, "a result is aligned");
    if (len && (is_in_area(value) || len > SOON__PAYLOAD))
        check_apart(task, value, len);
    task->len = len;
    task->digest = digest_of(value, len);
}

/* Without memory only the code of an error is kept. */
static bool is_from_library(const soon_error *e)
{
    return e->origin == SOON_FROM_LIBRARY || soon__inject_fired(SOON__INJECT_ALLOC);
}

/* A task that has not begun ends only so. */
static bool is_end_of_fresh(const soon_error *e)
{
    return is_from_library(e) && (e->code == -ECANCELED || e->code == -ENOTRECOVERABLE ||
                                  e->code == -EAGAIN || e->code == -ENOMEM);
}

/* What may happen to any that has. */
static bool is_end_of_begun(const soon_error *e)
{
    return e->code == -EOWNERDEAD || e->code == -ETIME;
}

static bool is_end_of_done(const struct fuzz_task *task, const soon_error *e)
{
    if (is_end_of_begun(e))
        return true;
    if (is_from_library(e) && (e->code == -ENOMEM || e->code == -EMFILE))
        return true;
    return e->code == task->evidence.code && (e->code || task->len == task->evidence.len);
}

static void judge(struct fuzz_task *task)
{
    soon_error e;

    REQUIRE(soon_future_error(task->future, 0, &e) == 0, "a task that is done says how");
    REQUIRE(e.message, "an error has a message");
    fuzz_trace("    task %d is done: %d, from %d: %s", (int)(task - fuzz_tasks), e.code, e.origin,
               e.message);
    task->judged = true;
    if (!e.code)
        check_result(task);
    REQUIRE(e.code != -ETIME || e.origin != SOON_FROM_LIBRARY || task->timeout,
            "only a task with a timeout is late");
    if (fuzz_ambushed || task->evidence.kind == FUZZ_UNKNOWN)
        return;
    if (task->evidence.kind == FUZZ_FRESH)
        REQUIRE(is_end_of_fresh(&e), "a task that had not begun has not run, nor failed");
    else if (task->evidence.kind == FUZZ_DONE)
        REQUIRE(is_end_of_done(task, &e), "a task ends as its slot says");
    else
        REQUIRE(is_end_of_begun(&e), "a task that was not delivered is not finished");
}

/* ---- the pool's account ---- */

/* One that is being collected counts no more, one that is being buried does. */
static bool is_live_counted(struct seat *seat)
{
    unsigned n = 0, n_over = 0;

    for (uint32_t p = seat->head; p != seat->tail; p++) {
        const struct entry *entry = soon__entry_at(seat, p);
        n += entry->future && !entry->over;
        n_over += entry->future && entry->over;
    }
    return seat->n_live >= n && seat->n_live <= n + n_over;
}

static size_t count_queue(const struct soon_task_queue *queue)
{
    size_t n = 0;

    for (int i = 0; i < 3; i++)
        for (const soon_future *f = queue->lane[i].head; f; f = soon_future_next(f))
            n++;
    return n;
}

static unsigned count_list(const struct seat *seat)
{
    unsigned n = 0;

    for (; seat; seat = seat->next)
        n++;
    return n;
}

static void check_seat(struct seat *seat)
{
    bool vacant = seat->phase == SEAT_VACANT;

    REQUIRE(seat->tail - seat->head <= SOON__RING, "a ring is not overfull");
    REQUIRE(seat->args_tail - seat->args_head <= SOON__ARGS_SIZE, "nor are the arguments");
    REQUIRE(is_live_counted(seat), "the tasks of a seat are counted");
    REQUIRE(vacant == (seat->segment == NULL), "a worker has a channel");
    REQUIRE(!vacant || seat->head == seat->tail, "a vacant seat has no tasks");
    REQUIRE((seat->link_busy != NULL) == (seat->head != seat->tail), "a seat with tasks is busy");
}

static void check_pool(struct pool *pool)
{
    unsigned workers = 0, alive = 0, idle = 0, ahead = 0;

    for (unsigned i = 0; i < pool->n_seats; i++) {
        struct seat *seat = pool->seats[i];
        check_seat(seat);
        workers += seat->phase != SEAT_VACANT;
        alive += seat->pid != 0;
        idle += seat->phase == SEAT_OPEN && seat->n_live == 0;
        ahead += seat->phase == SEAT_OPEN && seat->n_live ? seat->n_live - 1 : 0;
    }
    REQUIRE(pool->n_workers == workers && pool->n_alive == alive, "workers are counted");
    REQUIRE(pool->n_idle == idle && pool->n_ahead == ahead, "idle ones too");
    REQUIRE(count_list(pool->vacant) == pool->n_seats - workers, "vacant seats are found again");
    REQUIRE(count_list(pool->idle) <= idle, "seats in the idle list are idle");
    REQUIRE(count_queue(&pool->queue) == pool->queue.count, "the queue is counted");
}

void fuzz_audit(void)
{
    fuzz_blind(true);
    if (fuzz_pool && !fuzz_is_any_interrupted() && atomic_load(&fuzz_pool->lock.word) == 0)
        check_pool(fuzz_pool);
    for (int i = 0; i < FUZZ_TASKS; i++)
        if (fuzz_tasks[i].future && !fuzz_tasks[i].judged && soon_future_done(fuzz_tasks[i].future))
            judge(&fuzz_tasks[i]);
    fuzz_blind(false);
}

/* ---- the end ---- */

void fuzz_drop(struct fuzz_task *task)
{
    soon_future *f = task->future;
    const void *value;
    size_t len;

    if (task->judged && soon_future_value(f, 0, &value, &len) == 0) {
        uint64_t digest = digest_of(value, len);
        REQUIRE(len == task->len, "a result stays as long as it was");
        REQUIRE(digest == task->digest || is_in_area(value), "a result stays what it was");
    }
    task->future = NULL;
    soon_future_unref(f);
}

void fuzz_judge_end(uint64_t submitted)
{
    soon_stats stats;

    for (int i = 0; i < FUZZ_TASKS; i++) {
        const struct fuzz_task *task = &fuzz_tasks[i];
        REQUIRE(!task->future || task->judged, "every task is done");
        REQUIRE(task->calls == task->called, "its callback has been called, once");
    }
    if (!fuzz_pool)
        return;
    REQUIRE(soon_executor_stats(&fuzz_pool->ex, &stats) == 0, "there are figures");
    REQUIRE(stats.finished + stats.failed + stats.cancelled + stats.timed_out == submitted,
            "every task is counted once");
    REQUIRE(stats.pending == 0 && stats.running == 0, "none is left");
    REQUIRE(stats.workers == 0 && stats.idle == 0, "nor is a worker");
}
