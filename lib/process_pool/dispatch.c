/* SPDX-License-Identifier: MIT */
/*
 * Tasks on their way to workers.
 *
 * Whoever brings a task hands it out itself if a worker can take it; else it
 * waits in the queue until the monitor has collected something. A future that
 * is with a worker has its entry for a place.
 */
#include "process_pool/pool.h"

#include "os/packet.h"
#include "os/shm.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COPY_UNLOCKED = 1024 }; /* arguments longer than this are copied without the lock */

/* ---- choosing a worker ---- */

/* Offset for len bytes in the argument ring, whose pieces don't wrap. */
static bool find_args(const struct seat *seat, size_t len, uint32_t *at, uint32_t *end)
{
    uint32_t start = seat->args_tail % SOON__ARGS_SIZE;
    uint32_t size = (uint32_t)(len + 15) & ~15u;
    uint32_t skip = start + size > SOON__ARGS_SIZE ? SOON__ARGS_SIZE - start : 0;

    *at = skip ? 0 : start;
    *end = seat->args_tail + skip + size;
    return *end - seat->args_head <= SOON__ARGS_SIZE;
}

static enum soon__where where_for(const struct pool *pool, const soon_task *task)
{
    size_t len = task->arg_len;

    if (soon__store_has(&pool->store, task->arg))
        return SOON__IN_STORE;
    return len <= SOON__ARG_SMALL  ? SOON__IN_SLOT
           : len <= SOON__SLAB_MAX ? SOON__IN_AREA
                                   : SOON__IN_FILE;
}

static bool args_fit(const struct seat *seat, const soon_task *task)
{
    uint32_t at, end;

    return where_for(seat->pool, task) != SOON__IN_AREA ||
           find_args(seat, task->arg_len, &at, &end);
}

static struct seat *new_seat(struct pool *pool)
{
    struct seat *seat = NULL;

    if (pool->n_workers == pool->max_workers ||
        (pool->start_after && soon__now() < pool->start_after))
        return NULL;
    int error = soon__seat_open(pool, &seat);
    if (error == -EPIPE || error == -EAGAIN) { /* the nursery is gone, or slow */
        pool->start_error = error;
        pool->start_after = soon__now() + SOON_MS(20);
        soon__monitor_by(pool, pool->start_after);
    } else if (error) {
        soon__start_failed(pool, error);
    }
    return seat;
}

/* The pool had nothing to do for a while: what tasks were like before says
 * nothing about those that come now, which are handed to a worker each. Not
 * whenever it has nothing to do just now: workers that are quicker than who
 * brings the tasks have that all the time, and many would be woken each time. */
static void begin_anew(struct pool *pool)
{
    pool->quick = false;
    pool->trust++;
}

/* Do as many workers as there are CPUs end a task sooner than another would be
 * awake? Those that do so sooner than the program brings the next leave a CPU to
 * that and one to the monitor. One that is still to be started is started all
 * the same. */
static bool leaves_asleep(const struct pool *pool, const soon_task *task)
{
    bool enough = pool->n_quick >= pool->cpus || (pool->n_swift && pool->n_swift + 2 >= pool->cpus);

    return pool->quick && enough && pool->n_workers == pool->max_workers && !task->timeout;
}

/* The task waits for one of these workers, with it or in the queue (NULL). */
static struct seat *awake_seat_for(struct pool *pool, const soon_task *task)
{
    enum { LOOKED_AT = 3 };
    struct seat *best = NULL, *seat = pool->roomy;

    for (int i = 0; i < LOOKED_AT && seat; i++, seat = seat->next)
        if (soon__seat_is_trusted(seat) && args_fit(seat, task) &&
            (!best || seat->n_live < best->n_live))
            best = seat;
    soon__mind_waiting(pool);
    return best;
}

/* A task with a timeout is handed to an idle worker only: its time is short
 * enough to be measured from then. */
static struct seat *seat_for(struct pool *pool, const soon_task *task)
{
    struct seat *seat = pool->idle;

    if (!pool->lively)
        begin_anew(pool);
    if (seat && leaves_asleep(pool, task))
        return awake_seat_for(pool, task);
    if (seat && args_fit(seat, task))
        return seat;
    seat = new_seat(pool);
    if (seat || task->timeout)
        return seat;
    seat = pool->roomy;
    if (seat && seat->next && seat->next->n_live < seat->n_live)
        seat = seat->next;
    return seat && args_fit(seat, task) ? seat : NULL;
}

static bool can_take(const struct pool *pool)
{
    return !pool->stalled && (pool->idle || pool->roomy || pool->n_workers < pool->max_workers);
}

/* ---- writing a slot ---- */

/* Copies the argument to where its slot says. A file is still to be sent: its
 * descriptor, else -1; another negative number is an errno. */
static int write_argument(const struct entry *entry, struct segment *segment, const soon_task *task)
{
    struct soon__slot *slot = soon__slot_of(segment->channel, entry->position);

    if (entry->where == SOON__IN_FILE)
        return soon__shm_filled("soon-argument", task->arg, task->arg_len);
    if (task->arg_len && entry->where != SOON__IN_STORE) /* there it lies already */
        memcpy(entry->where == SOON__IN_SLOT ? slot->arg : segment->args + entry->args_at,
               task->arg, task->arg_len);
    return -1;
}

/* Sends the file, if there is one, ahead of its slot. 0, or a negative errno:
 * then nothing is on its way. Under the lock, which keeps the socket. */
static int send_argument(struct entry *entry, int file)
{
    struct soon__parcel parcel = {.position = entry->position};
    struct soon__slot *slot = soon__slot_at(entry);
    struct seat *seat = entry->seat;

    if (slot->arg_where == SOON__IN_NEW_STORE)
        file = seat->pool->store.fd;
    else if (entry->where != SOON__IN_FILE)
        return 0;
    int error =
        file < 0 ? file : soon__packet_send(seat->parcels, &parcel, sizeof parcel, &file, 1, false);
    if (error)
        slot->arg_where = SOON__IN_SLOT;
    else
        seat->has_store |= slot->arg_where == SOON__IN_NEW_STORE;
    return error;
}

static void write_function(const struct pool *pool, struct soon__slot *slot, soon_fn *fn)
{
    char message[1];

    if (pool->start_method == SOON_START_SPAWN) {
        soon__function_describe(pool->found, false, fn, &slot->function, message, sizeof message);
        return;
    }
    slot->function.kind = SOON__FUNCTION_ADDRESS;
    slot->function.offset = (uint64_t)(uintptr_t)fn;
}

/* Takes the next position, and room for the argument. */
static struct entry *take_slot(struct seat *seat, enum soon__errand errand, const soon_task *task,
                               unsigned manner)
{
    struct entry *entry = &seat->ring[seat->tail % SOON__RING];
    uint32_t at = 0, end = seat->args_tail;
    enum soon__where where = where_for(seat->pool, task);

    if (where == SOON__IN_AREA)
        find_args(seat, task->arg_len, &at, &end);
    if (where == SOON__IN_STORE)
        at = soon__store_offset(&seat->pool->store, task->arg);
    *entry = (struct entry){.seat = seat,
                            .position = seat->tail++,
                            .deadline = SOON__NEVER,
                            .timeout = task->timeout,
                            .args_end = seat->args_tail = end,
                            .args_at = at,
                            .where = (uint8_t)where,
                            .errand = (uint8_t)errand};
    struct soon__slot *slot = soon__slot_at(entry);
    slot->errand = (uint8_t)errand;
    slot->arg_where =
        where == SOON__IN_STORE && !seat->has_store ? SOON__IN_NEW_STORE : (uint8_t)where;
    slot->arg_len = task->arg_len;
    slot->arg_at = at;
    slot->manner = (uint16_t)manner;
    write_function(seat->pool, slot, task->fn);
    /* relaxed: QUEUED publishes them. */
    atomic_store_explicit(&slot->asked, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->progress_count, 0, memory_order_relaxed);
    return entry;
}

/* If the worker sleeps. */
static void rouse(struct soon__channel *channel)
{
    /* seq_cst, both: the Dekker pair of `asleep`. */
    if (!atomic_load(&channel->asleep))
        return;
    /* relaxed: a hint. */
    atomic_store_explicit(&channel->roused, (uint64_t)soon__now(), memory_order_relaxed);
    if (atomic_exchange(&channel->asleep, 0))
        soon__futex_wake_shared(&channel->asleep, 1);
}

/* Shows the slot to the worker. The bell comes first: who sees the task finds
 * it set. */
static void show(struct entry *entry, enum soon__phase phase)
{
    struct pool *pool = entry->seat->pool;
    struct soon__channel *channel = entry->seat->segment->channel;
    uint32_t bell = entry->timeout || pool->want_begins ? SOON__BELL_BEGINS : SOON__BELL_ENDS;

    /* relaxed: QUEUED publishes it; a worker that has just rung and cleared it
     * makes the monitor look all the same. */
    if (pool->watching && atomic_load_explicit(&channel->bell, memory_order_relaxed) < bell)
        atomic_store_explicit(&channel->bell, bell, memory_order_relaxed);
    if (!pool->lively && pool->watching)
        soon__monitor_poke(pool);
    pool->lively = true;
    atomic_store(&soon__slot_at(entry)->state, soon__slot_state(entry->position, phase));
    rouse(channel);
}

/* ---- handing out ---- */

/* Somebody may take the future away while its argument is copied, or the
 * worker may die; the segment and the reference of ours stay. False: the seat
 * has been vacated, and the entry may be another's. */
static bool fill_unlocked(struct entry *entry, soon_future *f, const soon_task *task, int *file)
{
    struct seat *seat = entry->seat;
    struct pool *pool = seat->pool;
    struct segment *segment = seat->segment;
    const struct entry copy = *entry;
    uint32_t generation = seat->generation;

    entry->filling = true;
    soon_future_ref(f);
    soon__segment_ref(segment);
    soon__lock_release(&pool->lock);
    *file = write_argument(&copy, segment, task);
    soon__lock_acquire(&pool->lock);
    soon__segment_drop(segment);
    soon_future_unref(f);
    if (seat->generation != generation)
        return false;
    entry->filling = false;
    return true;
}

/* A task that could not be handed out for want of memory or descriptors. */
static void fail(struct pool *pool, soon_future *f, int code)
{
    char text[128];
    soon_error error = {
        .code = code == -ENOMEM ? code : -EAGAIN, .origin = SOON_FROM_LIBRARY, .message = text};

    snprintf(text, sizeof text, "the argument could not be sent: %s", strerrordesc_np(-code));
    bool deferred = soon_callbacks_defer();
    soon__wait_group_enter(&pool->enders);
    soon__lock_release(&pool->lock);
    soon_future_set_failure(f, &error);
    soon_future_unref(f);
    soon__wait_group_leave(&pool->enders);
    soon_callbacks_resume(deferred);
    soon__lock_acquire(&pool->lock);
}

/* Its worker takes nothing any more: the task goes back, the worker goes. */
static void refuse(struct seat *seat, soon_future *f)
{
    soon_task_queue_return(&seat->pool->queue, f);
    soon__seat_doom(seat, REASON_CRASH, SIGKILL);
}

/* The argument is where it should be: shows the task to its worker, unless
 * somebody has taken it back meanwhile. */
static void settle(struct entry *entry, soon_future *f, int file)
{
    struct seat *seat = entry->seat;
    bool ours = entry->future == f;
    int error = ours ? send_argument(entry, file) : 0;

    if (ours && !error) {
        show(entry, SOON__SLOT_QUEUED);
        return;
    }
    soon__slot_at(entry)->arg_where = SOON__IN_SLOT; /* there is no file to wait for */
    if (ours) {
        entry->future = NULL;
        entry->revoked = true;
        soon_future_set_place(f, NULL);
        seat->n_revoked++;
        seat->n_live--;
        seat->n_given--;
    }
    show(entry, SOON__SLOT_REVOKED);
    soon__seat_sort(seat);
    if (error == -EPIPE || error == -EAGAIN)
        refuse(seat, f);
    else if (error)
        fail(seat->pool, f, error);
}

static void hand_out(struct seat *seat, soon_future *f, const soon_task *task)
{
    struct entry *entry = take_slot(seat, SOON__ERRAND_TASK, task, soon_future_manner(f));
    int file;

    entry->future = f;
    soon_future_set_place(f, entry);
    seat->n_live++;
    seat->n_given++;
    soon__seat_sort(seat);
    if (task->arg_len > COPY_UNLOCKED && entry->where != SOON__IN_STORE) {
        if (fill_unlocked(entry, f, task, &file))
            settle(entry, f, file);
        if (file >= 0)
            close(file);
        return;
    }
    settle(entry, f, write_argument(entry, seat->segment, task));
}

/* Back to the front, as if it had not been popped: ageing counts tasks that
 * went first, and none has. */
static void unpop(struct soon_task_queue *queue, const struct soon_task_queue *before,
                  soon_future *f)
{
    soon_task_queue_return(queue, f);
    for (unsigned i = 0; i < sizeof queue->lane / sizeof *queue->lane; i++)
        queue->lane[i].passed_over = before->lane[i].passed_over;
}

void soon__pump(struct pool *pool)
{
    soon_task task;

    while (pool->queue.count && !pool->stopped && !pool->broken && can_take(pool)) {
        const struct soon_task_queue before = pool->queue;
        soon_future *f = soon_task_queue_pop(&pool->queue);
        if (!soon_future_unclaimed(f)) {
            if (pool->stale)
                pool->stale--;
            soon_future_unref(f);
            continue;
        }
        soon_future_task(f, &task);
        struct seat *seat = seat_for(pool, &task);
        if (!seat) {
            unpop(&pool->queue, &before, f);
            pool->stalled = true;
            return;
        }
        hand_out(seat, f, &task);
    }
}

/* What comes behind others changes nothing for them: a flood of tasks that have
 * to wait does not look for a worker each time. */
static bool is_behind(const struct soon_task_queue *queue, const struct soon_task_queue *before)
{
    for (unsigned i = 0; i < sizeof queue->lane / sizeof *queue->lane; i++)
        if (queue->lane[i].head != before->lane[i].head)
            return false;
    return true;
}

void soon__bring(struct pool *pool, soon_future *chain)
{
    if (pool->stalled) {
        const struct soon_task_queue before = pool->queue;
        soon_task_queue_push(&pool->queue, chain);
        pool->stalled = is_behind(&pool->queue, &before);
    } else {
        soon_task_queue_push(&pool->queue, chain);
    }
    soon__pump(pool);
}

int soon__give_errand(struct seat *seat, enum soon__errand errand)
{
    const struct pool *pool = seat->pool;
    soon_task task = {.fn = errand == SOON__ERRAND_FINISH ? pool->finalizer : pool->initializer,
                      .arg = pool->init_arg,
                      .arg_len = pool->init_arg_len};

    if (seat->tail - seat->head >= SOON__RING || !args_fit(seat, &task))
        return -EAGAIN;
    if (!task.fn)
        task.arg_len = 0;
    struct entry *entry = take_slot(seat, errand, &task, 0);
    struct soon__slot *slot = soon__slot_at(entry);
    int file = write_argument(entry, seat->segment, &task);
    int error = send_argument(entry, file);
    if (file >= 0)
        close(file);
    if (!task.fn)
        slot->function.kind = 0;
    entry->revoked = error != 0;
    seat->n_revoked += entry->revoked;
    show(entry, error ? SOON__SLOT_REVOKED : SOON__SLOT_QUEUED);
    soon__seat_sort(seat);
    return error;
}
