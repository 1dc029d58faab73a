/* SPDX-License-Identifier: MIT */
#include "far.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct far far;

int task_unknown(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(!"a function that no worker could find was called");
    return 0;
}

static void lock(void)
{
    pthread_mutex_lock(&far.lock);
}

static void unlock(void)
{
    pthread_mutex_unlock(&far.lock);
}

/* ---- what the library asks ---- */

/* f's slot while that is where it is, under the lock. */
static struct far_slot *slot_of(const soon_future *f)
{
    struct far_slot *slot = soon_future_place(f);

    return slot && slot->future == f ? slot : NULL;
}

static void hand_out(void)
{
    soon_future *f;

    for (size_t i = 0; i < FAR_SLOTS && far.hand_out; i++) {
        struct far_slot *slot = &far.slot[i];
        if (slot->future)
            continue;
        while ((f = soon_task_queue_pop(&far.queue)) && !soon_future_unclaimed(f))
            soon_future_unref(f); /* another's reference is left: it is being cancelled */
        if (!f)
            return;
        REQUIRE(soon_future_place(f) == NULL);
        soon_future_set_place(f, slot);
        slot->future = f;
        slot->asked = slot->reported = false;
        atomic_store(&slot->state, FAR_QUEUED);
        bell_ring(far.work);
    }
}

static int far_submit(soon_executor *ex, soon_future *chain, size_t n)
{
    size_t largest = atomic_load(&far.largest), length = 0;
    int error = atomic_load(&far.refusal);
    soon_task task;

    (void)ex;
    if (error)
        return error;
    for (soon_future *f = chain; f; f = soon_future_next(f)) {
        length++;
        soon_future_task(f, &task);
        while (largest < task.arg_len &&
               !atomic_compare_exchange_weak(&far.largest, &largest, task.arg_len))
            ;
        atomic_fetch_add(&far.chunks, soon_future_manner(f) != 0);
    }
    REQUIRE(length == n && n > 0);
    lock();
    if (far.closed)
        error = -ESHUTDOWN;
    else
        soon_task_queue_push(&far.queue, chain);
    hand_out();
    unlock();
    return error;
}

/* A slot's task that has begun is told; it may have been already. */
static void tell(struct far_slot *slot)
{
    if (slot->future && atomic_load(&slot->state) == FAR_TAKEN)
        (void)soon_future_set_running_or_notify_cancel(slot->future);
}

static void far_look(soon_executor *ex, soon_future *f)
{
    (void)ex;
    atomic_fetch_add(&far.looks, 1);
    lock();
    if (f && slot_of(f))
        tell(slot_of(f));
    for (size_t i = 0; i < FAR_SLOTS && !f; i++)
        tell(&far.slot[i]);
    far.tell_next = far.tell_next || !f;
    unlock();
}

static bool take_back(soon_future *f)
{
    struct far_slot *slot = slot_of(f);
    int queued = FAR_QUEUED;

    if (!soon_future_place(f))
        return true; /* not handed out yet */
    if (!slot || !atomic_compare_exchange_strong(&slot->state, &queued, FAR_FREE))
        return false;
    slot->future = NULL;
    soon_future_unref(f); /* the canceller's is left */
    hand_out();
    return true;
}

static bool far_recall(soon_executor *ex, soon_future *f)
{
    (void)ex;
    atomic_fetch_add(&far.recalls, 1);
    if (atomic_load(&far.gated)) {
        bell_ring(far.recalling);
        gate_pass(far.answer);
    }
    lock();
    bool back = take_back(f);
    unlock();
    atomic_fetch_add(&far.recalled, back);
    return back;
}

static void far_ask(soon_executor *ex, soon_future *f)
{
    (void)ex;
    atomic_fetch_add(&far.asks, 1);
    lock();
    if (slot_of(f))
        slot_of(f)->asked = true;
    unlock();
}

static bool far_progress(soon_executor *ex, soon_future *f, uint64_t *done, uint64_t *total)
{
    (void)ex;
    lock();
    struct far_slot *slot = slot_of(f);
    bool known = slot && atomic_load(&slot->state) == FAR_TAKEN && slot->reported;
    if (known) {
        *done = slot->done;
        *total = slot->total;
    }
    unlock();
    return known;
}

static void free_buffer(void *buffer)
{
    free(buffer);
    atomic_fetch_sub(&far.live, 1);
}

static void far_give_back(soon_executor *ex, const void *value, size_t len, void *token)
{
    REQUIRE(ex == &far.base && atomic_load(&far.destroyed) == 0);
    (void)len;
    atomic_store(&far.last_given_back, token);
    atomic_fetch_add(&far.given_back, 1);
    if (token && token == far.forged)
        REQUIRE(munmap(far.forged, far.forged_size) == 0);
    else if (token == value)
        free_buffer(token);
}

static int far_find(soon_executor *ex, soon_fn *fn, char *message, size_t size)
{
    (void)ex;
    atomic_fetch_add(&far.finds, 1);
    if (fn != task_unknown)
        return 0;
    snprintf(message, size, "no worker knows %s", "task_unknown");
    return -ENOENT;
}

static void far_withdrawn(soon_executor *ex, soon_future *f)
{
    (void)ex, (void)f;
    atomic_fetch_add(&far.withdrawn, 1);
}

static void far_kill(soon_executor *ex, soon_future *f)
{
    (void)ex;
    atomic_fetch_add(&far.kills, 1);
    REQUIRE(soon_future_set_result(f, NULL, 0) == -EALREADY);
}

/* What has been handed out and not begun goes back first, so that none of the
 * futures that are cancelled has begun and is merely asked. */
static void cancel_all(void)
{
    soon_future *f;

    lock();
    far.hand_out = false;
    for (size_t i = 0; i < FAR_SLOTS; i++) {
        int queued = FAR_QUEUED;
        if (!atomic_compare_exchange_strong(&far.slot[i].state, &queued, FAR_FREE))
            continue;
        soon_task_queue_return(&far.queue, far.slot[i].future);
        far.slot[i].future = NULL;
    }
    while ((f = soon_task_queue_pop(&far.queue)) != NULL) {
        unlock();
        soon_future_cancel(f);
        soon_future_unref(f);
        lock();
    }
    unlock();
}

static void far_close_op(soon_executor *ex, unsigned flags)
{
    (void)ex;
    lock();
    far.closed = true;
    unlock();
    if (flags & SOON_CANCEL_FUTURES)
        cancel_all();
}

static int far_join(soon_executor *ex, soon_ns deadline)
{
    return soon_executor_drain(ex, deadline);
}

static void far_destroy(soon_executor *ex)
{
    lock();
    REQUIRE(far.queue.count == 0);
    for (size_t i = 0; i < FAR_SLOTS; i++)
        REQUIRE(!far.slot[i].future);
    unlock();
    atomic_fetch_add(&far.destroyed, 1);
    soon_executor_fini(ex);
}

const struct soon_executor_ops far_ops = {
    .backend = "far",
    .flags = SOON_BACKEND_REMOTE,
    .submit = far_submit,
    .close = far_close_op,
    .join = far_join,
    .destroy = far_destroy,
    .withdrawn = far_withdrawn,
    .kill = far_kill,
    .look = far_look,
    .recall = far_recall,
    .ask = far_ask,
    .progress = far_progress,
    .give_back = far_give_back,
    .find = far_find,
};

/* ---- what a call asks ---- */

static struct far_slot *slot_at(struct soon_port *port)
{
    return (struct far_slot *)port;
}

static void *port_buffer(struct soon_port *port, size_t len)
{
    (void)port;
    long left = atomic_load(&far.fail_buffer);
    if (left && atomic_fetch_sub(&far.fail_buffer, 1) == 1)
        return NULL;
    void *buffer = aligned_alloc(16, (len + 15) & ~(size_t)15);
    REQUIRE(buffer && len > FAR_ROOM);
    atomic_fetch_add(&far.buffers, 1);
    atomic_fetch_add(&far.live, 1);
    return buffer;
}

static void port_unbuffer(struct soon_port *port, void *buffer)
{
    (void)port;
    atomic_fetch_add(&far.unbuffers, 1);
    atomic_store(&far.last_unbuffer, buffer);
    free_buffer(buffer);
}

static bool port_cancelled(struct soon_port *port)
{
    lock();
    bool asked = slot_at(port)->asked;
    unlock();
    return asked;
}

static void port_progress(struct soon_port *port, uint64_t done, uint64_t total)
{
    struct far_slot *slot = slot_at(port);

    lock();
    slot->done = done;
    slot->total = total;
    slot->reported = true;
    unlock();
}

static const struct soon_port port_of_slot = {
    .room_size = FAR_ROOM,
    .buffer = port_buffer,
    .unbuffer = port_unbuffer,
    .cancelled = port_cancelled,
    .progress = port_progress,
};

/* ---- the workers ---- */

struct far_slot *far_begin(void)
{
    for (size_t i = 0; i < FAR_SLOTS; i++) {
        struct far_slot *slot = &far.slot[i];
        int queued = FAR_QUEUED;
        if (!atomic_compare_exchange_strong(&slot->state, &queued, FAR_TAKEN))
            continue;
        lock();
        if (far.tell_next)
            tell(slot);
        far.tell_next = false;
        unlock();
        return slot;
    }
    return NULL;
}

/* The slot is free again; its future, with the reference, is not done yet. */
static soon_future *leave(struct far_slot *slot)
{
    lock();
    soon_future *f = slot->future;
    if (slot->reported)
        soon_future_set_progress(f, slot->done, slot->total);
    slot->future = NULL;
    atomic_store(&slot->state, FAR_FREE);
    hand_out();
    unlock();
    return f;
}

/* A small result is copied here: the next task may use the room at once. */
static void finish(struct far_slot *slot, const struct soon_outcome *outcome)
{
    bool lent = outcome->code == 0 && outcome->value != slot->room;
    char copy[FAR_ROOM];

    if (outcome->code == 0 && !lent)
        memcpy(copy, outcome->value, outcome->value_len);
    soon_future *f = leave(slot);
    if (outcome->code)
        (void)soon_future_set_failure(
            f, &(soon_error){.code = outcome->code, .message = outcome->message});
    else if (!lent)
        (void)soon_future_deliver(f, copy, outcome->value_len);
    else if (soon_future_lend(f, outcome->value, outcome->value_len, (void *)outcome->value))
        free_buffer((void *)outcome->value);
    soon_future_unref(f);
}

void far_end(struct far_slot *slot)
{
    struct soon_outcome outcome;
    soon_task task;

    soon_future_task(slot->future, &task);
    soon_port_call(&slot->port, task.fn, soon_future_manner(slot->future), task.arg, task.arg_len,
                   &outcome);
    finish(slot, &outcome);
}

/* The bytes end with a page, and what is behind can't be read. */
void far_forge(struct far_slot *slot, const void *value, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (len + page - 1) / page * page;
    size_t room = (len + 15) & ~(size_t)15;
    char *memory =
        mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(memory != MAP_FAILED && mprotect(memory + pages, page, PROT_NONE) == 0);
    char *at = memory + pages - room;
    memcpy(at, value, len);
    far.forged = memory;
    far.forged_size = pages + page;
    REQUIRE(far_lend(slot, at, len, memory) == 0);
}

int far_lend(struct far_slot *slot, const void *value, size_t len, void *token)
{
    soon_future *f = leave(slot);
    int error = soon_future_lend(f, value, len, token);

    soon_future_unref(f);
    return error;
}

unsigned far_run(void)
{
    struct far_slot *slot;
    unsigned n = 0;

    for (; (slot = far_begin()) != NULL; n++)
        far_end(slot);
    return n;
}

static void *work(void *unused)
{
    while (!atomic_load(&far.stop)) {
        bell_await(far.work, 1);
        far_run();
    }
    return unused;
}

void far_start(unsigned n)
{
    REQUIRE(n <= FAR_THREADS);
    for (; far.n_threads < n; far.n_threads++)
        REQUIRE(pthread_create(&far.thread[far.n_threads], NULL, work, NULL) == 0);
}

/* ---- its life ---- */

soon_executor *far_open(size_t max_pending, int overflow)
{
    struct soon_executor_limits limits = {
        .workers = 2, .max_pending = max_pending, .overflow = overflow};

    memset(&far, 0, sizeof far);
    REQUIRE(pthread_mutex_init(&far.lock, NULL) == 0);
    for (size_t i = 0; i < FAR_SLOTS; i++) {
        far.slot[i].port = port_of_slot;
        far.slot[i].port.room = far.slot[i].room;
    }
    far.recalling = bell_make();
    far.answer = gate_make();
    far.work = bell_make();
    far.hand_out = true;
    assert_ok(soon_executor_init(&far.base, &far_ops, &limits));
    return &far.base;
}

void far_close(void)
{
    soon_executor *ex = &far.base;

    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    atomic_store(&far.stop, true);
    for (unsigned i = 0; i < far.n_threads; i++)
        bell_ring(far.work);
    while (far.n_threads)
        REQUIRE(pthread_join(far.thread[--far.n_threads], NULL) == 0);
    ck_assert_uint_eq(atomic_load(&far.destroyed), 0);
    soon_executor_unref(ex);
    ck_assert_uint_eq(atomic_load(&far.destroyed), 1);
    far_free();
}

void far_free(void)
{
    ck_assert_int_eq(atomic_load(&far.live), 0);
    bell_free(far.recalling);
    gate_free(far.answer);
    bell_free(far.work);
    REQUIRE(pthread_mutex_destroy(&far.lock) == 0);
}
