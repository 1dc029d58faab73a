/* SPDX-License-Identifier: MIT */
/*
 * A worker's place in the pool.
 *
 *     VACANT --open--> OPEN --doom, or told to finish--> DOOMED --vacate--> VACANT
 *                        +------------- its worker died -----------------^
 *
 * An open seat is in one of three lists, or in none while its ring is as full
 * as it should be:
 *
 *     idle    it has nothing to do; the last to fall idle is the first to be used
 *     roomy   may be handed more, ahead of what it runs, or behind what was taken
 *             back from it: if its worker is stopped, it is no better than that
 *
 * Waking a worker takes longer than many a task, and more of them than there are
 * CPUs get nothing done that fewer would not. So while as many as that are at
 * tasks so short, the others are left asleep (dispatch.c), and the monitor sees
 * to it that no task waits for long if that was wrong. Tasks that take less time
 * than the program needs to bring and to collect them leave two CPUs to that:
 * more workers would do nothing but spin there.
 *
 * How much is handed ahead goes by how long the worker's tasks take: nothing
 * while that is unknown or long, since a task handed ahead can't be begun by
 * anybody else until it is taken back.
 */
#include "process_pool/pool.h"

#include "core/mem.h"
#include "os/event.h"
#include "os/own_fd.h"
#include "os/packet.h"
#include "os/poll.h"
#include "os/shm.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <string.h>

enum {
    AHEAD_NS = 100000, /* work handed ahead should not take longer than this */
    QUICK_NS = 10000,  /* tasks that take less are over before another worker is awake */
    SWIFT_NS = 1000,   /* and these sooner than the program has brought and collected one more */
    LONG_NS = 1000000, /* nothing is handed ahead of tasks that take longer */
    DEPTH_MAX = 48,    /* of SOON__RING; the rest is for what was taken back */
};

/* ---- lists ---- */

static void list_add(struct seat **list, struct seat *seat)
{
    seat->next = *list;
    seat->link = list;
    if (seat->next)
        seat->next->link = &seat->next;
    *list = seat;
}

static void list_remove(struct seat *seat)
{
    if (!seat->link)
        return;
    *seat->link = seat->next;
    if (seat->next)
        seat->next->link = seat->link;
    seat->link = NULL;
}

static void sort_busy(struct seat *seat)
{
    struct pool *pool = seat->pool;
    bool busy = seat->phase != SEAT_VACANT && seat->head != seat->tail;

    if (busy == (seat->link_busy != NULL))
        return;
    if (busy) {
        seat->next_busy = pool->busy;
        seat->link_busy = &pool->busy;
        if (seat->next_busy)
            seat->next_busy->link_busy = &seat->next_busy;
        pool->busy = seat;
    } else {
        *seat->link_busy = seat->next_busy;
        if (seat->next_busy)
            seat->next_busy->link_busy = seat->link_busy;
        seat->link_busy = NULL;
    }
}

unsigned soon__seat_depth(const struct seat *seat)
{
    if (seat->pace > LONG_NS)
        return 1;
    if (seat->pace <= AHEAD_NS / DEPTH_MAX) /* spares most seats the division */
        return DEPTH_MAX;
    uint64_t depth = AHEAD_NS / seat->pace;
    return depth < 2 ? 2 : (unsigned)depth;
}

static struct seat **list_for(struct seat *seat)
{
    struct pool *pool = seat->pool;

    if (seat->phase == SEAT_VACANT)
        return &pool->vacant;
    if (seat->phase != SEAT_OPEN || seat->tail - seat->head >= SOON__RING ||
        (pool->max_tasks && seat->n_given >= pool->max_tasks))
        return NULL;
    if (seat->n_live == 0 && seat->n_revoked == 0)
        return &pool->idle;
    return seat->n_live < soon__seat_depth(seat) ? &pool->roomy : NULL;
}

static bool is_quick(const struct seat *seat)
{
    return seat->pace <= QUICK_NS && !seat->stuck;
}

bool soon__seat_is_trusted(const struct seat *seat)
{
    return is_quick(seat) && seat->proven == seat->pool->trust;
}

void soon__seat_moved(struct seat *seat)
{
    seat->stuck = seat->doubted = false;
}

static bool is_idle(const struct seat *seat)
{
    return seat->phase == SEAT_OPEN && seat->n_live == 0;
}

void soon__seat_sort(struct seat *seat)
{
    struct seat **list = list_for(seat);

    list_remove(seat);
    if (list)
        list_add(list, seat);
    sort_busy(seat);
    seat->pool->stalled = false;
    seat->pool->n_idle -= seat->counted_idle;
    seat->counted_idle = is_idle(seat);
    seat->pool->n_idle += seat->counted_idle;
    seat->pool->n_ahead -= seat->counted_ahead;
    seat->counted_ahead = seat->phase == SEAT_OPEN && seat->n_live ? seat->n_live - 1 : 0;
    seat->pool->n_ahead += seat->counted_ahead;
    seat->pool->n_quick -= seat->counted_quick;
    seat->counted_quick = seat->phase == SEAT_OPEN && seat->n_live && is_quick(seat);
    seat->pool->n_quick += seat->counted_quick;
    seat->pool->n_swift -= seat->counted_swift;
    seat->counted_swift = seat->counted_quick && seat->pace <= SWIFT_NS;
    seat->pool->n_swift += seat->counted_swift;
}

/* ---- the channel ---- */

void soon__segment_ref(struct segment *segment)
{
    /* relaxed: the caller's own reference keeps it. */
    atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
}

void soon__segment_drop(struct segment *segment)
{
    /* acq_rel: every use comes before the end; pairs with itself. */
    if (atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) != 1)
        return;
    soon__shm_unmap(segment->channel, SOON__VALUES_AT);
    soon__shm_unmap((void *)segment->values, SOON__VALUES_SIZE);
    soon__free(segment, sizeof *segment);
}

/* The channel stays out of children that the program forks, workers among
 * them, where it could be written to; results stay in, since a child inherits
 * futures that borrow them. */
static int map_segment(int fd, struct segment **out)
{
    struct segment *segment = soon__zalloc(sizeof *segment);

    if (!segment)
        return -ENOMEM;
    void *values = soon__shm_map(fd, SOON__VALUES_AT, SOON__VALUES_SIZE, SOON__SHM_READ);
    void *channel =
        values ? soon__shm_map(fd, 0, SOON__VALUES_AT, SOON__SHM_WRITE | SOON__SHM_PRIVATE) : NULL;
    if (!channel) {
        if (values)
            soon__shm_unmap(values, SOON__VALUES_SIZE);
        soon__free(segment, sizeof *segment);
        return -ENOMEM;
    }
    segment->channel = channel;
    segment->args = (unsigned char *)channel + SOON__ARGS_AT;
    segment->values = values;
    segment->kind = LOAN_SEGMENT;
    atomic_init(&segment->refs, 1);
    *out = segment;
    return 0;
}

/* ---- getting a worker ---- */

static struct seat *free_seat(struct pool *pool)
{
    struct seat *seat = pool->vacant;

    if (seat || pool->n_seats == pool->max_workers)
        return seat;
    seat = soon__zalloc(sizeof *seat);
    if (!seat)
        return NULL;
    seat->pool = pool;
    seat->number = pool->n_seats;
    seat->pidfd = seat->bell = seat->parcels = -1;
    for (int i = 0; i < SOON__RING; i++)
        seat->ring[i].seat = seat;
    pool->seats[pool->n_seats++] = seat;
    soon__seat_sort(seat);
    return seat;
}

static void close_fd(int *fd)
{
    soon__own_fd_close(*fd);
    *fd = -1;
}

static void write_header(const struct seat *seat)
{
    const struct pool *pool = seat->pool;
    struct soon__channel *channel = seat->segment->channel;

    memcpy(channel->name, pool->name, sizeof channel->name);
    channel->number = seat->number;
    channel->forked = pool->start_method != SOON_START_SPAWN;
    channel->memory_limit = pool->worker_memory;
}

/* Everything but the process. fds: what that is to be born with, to be closed
 * here once it is on its way. */
static int furnish(struct seat *seat, int fds[SOON__BORN_FDS])
{
    int pair[2];

    int fd = fds[SOON__FD_CHANNEL] = soon__shm_new("soon-channel", SOON__CHANNEL_SIZE);
    if (fd < 0)
        return fd;
    soon__own_fd(fd);
    int error = map_segment(fd, &seat->segment);
    if (error)
        return error;
    seat->bell = fds[SOON__FD_BELL] = soon__event_new();
    if (seat->bell < 0)
        return seat->bell;
    soon__own_fd(seat->bell);
    error = soon__poll_add(seat->pool->poll_fd, seat->bell, TOKEN_BELL, true);
    if (!error)
        error = soon__packet_pair(pair);
    if (error)
        return error;
    seat->parcels = pair[0];
    fds[SOON__FD_PARCELS] = pair[1];
    soon__own_fd(pair[0]);
    soon__own_fd(pair[1]);
    write_header(seat);
    return 0;
}

static void strip(struct seat *seat)
{
    close_fd(&seat->bell);
    close_fd(&seat->parcels);
    close_fd(&seat->pidfd);
    if (seat->segment)
        soon__segment_drop(seat->segment);
    seat->segment = NULL;
}

static int ask_for_worker(struct seat *seat)
{
    int fds[SOON__BORN_FDS] = {-1, -1, -1};
    struct soon__berth berth = {.seat = seat->number, .generation = seat->generation};

    int error = furnish(seat, fds);
    if (!error)
        error = soon__nursery_start(&seat->pool->nursery, berth, fds);
    close_fd(&fds[SOON__FD_CHANNEL]);
    close_fd(&fds[SOON__FD_PARCELS]); /* the bell stays ours too */
    if (error)
        strip(seat);
    return error;
}

int soon__seat_open(struct pool *pool, struct seat **out)
{
    struct seat *seat = free_seat(pool);

    if (!seat)
        return -ENOMEM;
    if (!pool->nursery_up)
        return -EAGAIN;
    int error = ask_for_worker(seat);
    if (error)
        return error;
    seat->phase = SEAT_OPEN;
    seat->reason = REASON_NONE;
    seat->gone = false;
    seat->pid = 0;
    seat->signal = seat->beyond = 0;
    seat->corrupt = NULL;
    seat->kill_at = SOON__NEVER;
    seat->finishing = seat->started = seat->has_store = false;
    seat->head = seat->tail = 0;
    seat->n_live = seat->n_revoked = seat->n_given = 0;
    seat->pace = PACE_UNKNOWN;
    seat->args_head = seat->args_tail = 0;
    pool->n_workers++;
    pool->mapped += SOON__CHANNEL_SIZE;
    if (pool->initializer)
        error = soon__give_errand(seat, SOON__ERRAND_INITIALIZE);
    soon__seat_sort(seat);
    if (error) { /* without it there is no worker */
        soon__seat_doom(seat, REASON_KILLED, SIGKILL);
        return error;
    }
    *out = seat;
    return 0;
}

/* ---- losing it ---- */

/* The program may have given up the right to signal its workers, which the
 * nursery still has. If that has no ear just now, the monitor tries again. */
void soon__seat_signal(struct seat *seat)
{
    struct pool *pool = seat->pool;
    struct soon__berth berth = {.seat = seat->number, .generation = seat->generation};

    if (!seat->signal || seat->pidfd < 0)
        return;
    int error = soon__process_signal(seat->pidfd, seat->signal);
    if (error && error != -ESRCH && pool->nursery_up)
        error = soon__nursery_signal(&pool->nursery, berth, seat->signal);
    if (error != -EAGAIN) {
        seat->signal = 0;
        return;
    }
    pool->unsent = true;
    soon__monitor_by(pool, soon__now() + SOON__RESEND_NS);
}

void soon__seat_doom(struct seat *seat, enum seat_reason reason, int signal)
{
    if (seat->phase == SEAT_VACANT || seat->gone)
        return;
    /* First: what its worker finds from here on is taken back. */
    soon__take_back(seat);
    seat->phase = SEAT_DOOMED;
    if (seat->reason == REASON_NONE || (seat->reason == REASON_FINISH && reason != REASON_CRASH))
        seat->reason = reason;
    soon__seat_sort(seat);
    if (signal && seat->signal != SIGKILL)
        seat->signal = signal;
    if (signal)
        soon__seat_signal(seat);
}

void soon__seat_finish(struct seat *seat)
{
    if (seat->phase == SEAT_OPEN) {
        seat->phase = SEAT_DOOMED;
        seat->reason = REASON_FINISH;
    }
    if (seat->phase != SEAT_DOOMED || seat->reason != REASON_FINISH || seat->finishing)
        return;
    int error = soon__give_errand(seat, SOON__ERRAND_FINISH);
    seat->finishing = !error;
    if (error && error != -EAGAIN) /* no memory to say so: it has to go without its finalizer */
        soon__seat_doom(seat, REASON_FINISH, SIGTERM);
    soon__seat_sort(seat);
}

void soon__seat_started(struct seat *seat)
{
    if (!seat->started)
        seat->pool->n_started++;
    seat->started = true;
}

/* A worker that lives on ends when it sees this: at once if it sleeps, else
 * after its task. */
static void give_up(const struct seat *seat)
{
    struct soon__channel *channel = seat->segment->channel;

    /* seq_cst, both: a Dekker pair of `asleep`, as for a task. */
    atomic_store(&channel->given_up, 1);
    if (atomic_exchange(&channel->asleep, 0))
        soon__futex_wake_shared(&channel->asleep, 1);
}

void soon__seat_vacate(struct seat *seat)
{
    struct pool *pool = seat->pool;

    /* Who comes late and asks for one of its futures finds none here. */
    for (uint32_t p = seat->head; p != seat->tail; p++)
        soon__entry_at(seat, p)->future = NULL;
    if (seat->beyond)
        give_up(seat);
    strip(seat);
    if (seat->pid)
        pool->n_alive--;
    pool->n_workers--;
    pool->mapped -= SOON__CHANNEL_SIZE;
    seat->pid = 0;
    seat->phase = SEAT_VACANT;
    seat->generation++;
    seat->head = seat->tail = 0;
    seat->n_live = seat->n_revoked = 0;
    soon__seat_moved(seat);
    soon__seat_sort(seat);
}
