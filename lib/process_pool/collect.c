/* SPDX-License-Identifier: MIT */
/*
 * What workers have finished, on its way to the futures.
 *
 * Everything here looks at memory that a worker can write at any time. Each
 * word is read once, into a struct finding, and checked there; lengths and
 * places are held against what the area has and what is lent already. A worker
 * whose account makes no sense is killed: it has written where it should not,
 * and nothing that it says can be told from the truth.
 *
 * One thread at a time collects (pool->collecting). It marks the entries that
 * it is about to complete as `over`, under the lock, so that nobody takes them
 * away; completes the futures without the lock; and then frees the slots.
 */
#include "process_pool/pool.h"

#include "core/mem.h"
#include "os/packet.h"
#include "os/patience.h"
#include "os/shm.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    COPY_MAX = SOON__BLOCK, /* longer results are lent where they are */
    MESSAGE_MAX = 4096,     /* of an error, with its NUL */
};

/* What a slot says, read once. */
struct finding {
    int code;
    uint32_t origin;
    uint64_t where, len, at, spent;
};

/* A result in a file of its own, as it is lent. */
struct file {
    enum loan_kind kind; /* first, as in struct segment. Sync: const, all */
    void *memory;
    size_t len;
};

static struct finding read_slot(struct soon__slot *slot)
{
    /* relaxed, all: the acquire load that saw DONE orders them. */
    return (struct finding){
        .code = atomic_load_explicit(&slot->code, memory_order_relaxed),
        .origin = atomic_load_explicit(&slot->origin, memory_order_relaxed),
        .where = atomic_load_explicit(&slot->value_where, memory_order_relaxed),
        .len = atomic_load_explicit(&slot->value_len, memory_order_relaxed),
        .at = atomic_load_explicit(&slot->value_at, memory_order_relaxed),
        .spent = atomic_load_explicit(&slot->spent, memory_order_relaxed),
    };
}

/* The worker can't be trusted any more. Its task fails when it is dead. */
static void condemn(struct seat *seat, const char *why)
{
    soon__lock_acquire(&seat->pool->lock);
    seat->corrupt = why;
    soon__seat_doom(seat, REASON_CORRUPT, SIGKILL);
    soon__lock_release(&seat->pool->lock);
}

/* ---- blocks ---- */

static uint64_t run_of(uint64_t at, uint64_t len)
{
    uint64_t n = (len + SOON__BLOCK - 1) / SOON__BLOCK;

    return (n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX) << at / SOON__BLOCK;
}

static bool in_area(const struct segment *segment, const struct finding *found)
{
    return found->at % SOON__BLOCK == 0 && found->at < SOON__VALUES_SIZE && found->len > 0 &&
           found->len <= SOON__SLAB_MAX && found->len <= SOON__VALUES_SIZE - found->at &&
           !(atomic_load(&segment->lent) & run_of(found->at, found->len));
}

static void give_blocks(struct segment *segment, uint64_t at, uint64_t len)
{
    atomic_fetch_and(&segment->channel->blocks, ~run_of(at, len));
}

static int lend(struct seat *seat, soon_future *f, const struct finding *found)
{
    struct segment *segment = seat->segment;

    soon__segment_ref(segment);
    atomic_fetch_or(&segment->lent, run_of(found->at, found->len));
    int error = soon_future_lend(f, segment->values + found->at, found->len, segment);
    if (error) {
        atomic_fetch_and(&segment->lent, ~run_of(found->at, found->len));
        give_blocks(segment, found->at, found->len);
        soon__segment_drop(segment);
    }
    return error;
}

static int from_area(struct seat *seat, soon_future *f, const struct finding *found)
{
    struct segment *segment = seat->segment;

    if (!in_area(segment, found))
        return -EBADMSG;
    if (found->len > COPY_MAX)
        return lend(seat, f, found);
    int error = soon_future_deliver(f, segment->values + found->at, found->len);
    give_blocks(segment, found->at, found->len);
    return error;
}

/* ---- files ---- */

/* The file that came for a position; others are of tasks that nobody waits
 * for. */
static int receive_file(const struct seat *seat, uint32_t position)
{
    struct soon__parcel parcel;

    for (int i = 0; i < 2 * SOON__RING; i++) {
        int fd = -1;
        unsigned n = 1;
        int error = soon__packet_receive(seat->parcels, &parcel, sizeof parcel, &fd, &n, false);
        if (error || n != 1)
            return error == -EMFILE ? error : -EBADMSG;
        if (parcel.position == position)
            return fd;
        close(fd);
    }
    return -EBADMSG;
}

static int lend_file(soon_future *f, int fd, size_t len)
{
    struct file *file = soon__zalloc(sizeof *file);

    if (!file)
        return -ENOMEM;
    file->kind = LOAN_FILE;
    file->len = len;
    file->memory = soon__shm_map(fd, 0, len, SOON__SHM_READ | SOON__SHM_NOW);
    int error = file->memory ? soon_future_lend(f, file->memory, len, file) : -ENOMEM;
    if (error) {
        if (file->memory)
            soon__shm_unmap(file->memory, len);
        soon__free(file, sizeof *file);
    }
    return error;
}

static int from_file(const struct seat *seat, soon_future *f, uint32_t position, uint64_t len)
{
    int fd = receive_file(seat, position);

    if (fd < 0)
        return fd;
    int error = len && soon__shm_is_frozen(fd, len) ? lend_file(f, fd, len) : -EBADMSG;
    close(fd);
    return error;
}

void soon__op_give_back(soon_executor *ex, const void *value, size_t len, void *token)
{
    struct segment *segment = token;
    struct file *file = token;

    (void)ex;
    if (*(enum loan_kind *)token == LOAN_STORE) {
        soon__store_give_back(token, value, len);
        return;
    }
    if (*(enum loan_kind *)token == LOAN_FILE) {
        soon__shm_unmap(file->memory, file->len);
        soon__free(file, sizeof *file);
        return;
    }
    uint64_t at = (uint64_t)((const unsigned char *)value - segment->values);
    atomic_fetch_and(&segment->lent, ~run_of(at, len));
    give_blocks(segment, at, len);
    soon__segment_drop(segment);
}

/* ---- one task ---- */

static void fail(soon_future *f, int code, int origin, const char *message)
{
    soon_error error = {.code = code, .origin = origin, .message = message};

    soon_future_set_failure(f, &error);
}

/* The message is the worker's; only its length and its end are ours. False: it
 * is nowhere. */
static bool read_message(struct seat *seat, struct soon__slot *slot, const struct finding *found,
                         char *text, size_t size)
{
    size_t len = found->len < size ? found->len : size - 1;

    if (found->where == SOON__IN_SLOT && found->len <= SOON__VALUE_SMALL)
        memcpy(text, slot->value, len);
    else if (found->where == SOON__IN_AREA && in_area(seat->segment, found))
        memcpy(text, seat->segment->values + found->at, len);
    else
        return false;
    text[len] = '\0';
    if (found->where == SOON__IN_AREA)
        give_blocks(seat->segment, found->at, found->len);
    return true;
}

static int from_error(struct seat *seat, soon_future *f, struct soon__slot *slot,
                      const struct finding *found)
{
    char text[MESSAGE_MAX];

    if (!read_message(seat, slot, found, text, sizeof text))
        return -EBADMSG;
    fail(f, found->code, found->origin == SOON_FROM_LIBRARY ? SOON_FROM_LIBRARY : SOON_FROM_TASK,
         *text ? text : NULL);
    return 0;
}

static int from_slot(soon_future *f, const struct soon__slot *slot, uint64_t len)
{
    return len <= SOON__VALUE_SMALL ? soon_future_deliver(f, slot->value, len) : -EBADMSG;
}

/* timed_out: its worker is being killed for its timeout. */
static bool is_late(const struct entry *entry, const struct finding *found, bool timed_out)
{
    if (!entry->timeout)
        return false;
    if (timed_out)
        return true;
    /* It may have ended in time, and the program be late. */
    return found->spent > (uint64_t)entry->timeout &&
           (!entry->begun || soon__now() >= entry->deadline);
}

static void drop_value(struct seat *seat, uint32_t position, const struct finding *found)
{
    if (found->where == SOON__IN_AREA && in_area(seat->segment, found))
        give_blocks(seat->segment, found->at, found->len);
    int fd = found->where == SOON__IN_FILE && !found->code ? receive_file(seat, position) : -1;
    if (fd >= 0)
        close(fd);
}

/* True unless the slot makes no sense, and the future is still to be done. */
static bool complete(struct seat *seat, struct entry *entry, bool timed_out)
{
    struct soon__slot *slot = soon__slot_at(entry);
    struct finding found = read_slot(slot);
    soon_future *f = entry->future;
    int error;

    if (entry->revoked) /* what the slot says is left over from a task before */
        return true;
    if (!f || is_late(entry, &found, timed_out)) {
        drop_value(seat, entry->position, &found);
        if (f)
            fail(f, -ETIME, SOON_FROM_LIBRARY, NULL);
        return true;
    }
    soon__keep_progress(f, slot);
    if (found.code)
        error = from_error(seat, f, slot, &found);
    else if (found.where == SOON__IN_SLOT)
        error = from_slot(f, slot, found.len);
    else if (found.where == SOON__IN_AREA)
        error = from_area(seat, f, &found);
    else
        error = found.where == SOON__IN_FILE ? from_file(seat, f, entry->position, found.len)
                                             : -EBADMSG;
    if (error == -ENOMEM || error == -EMFILE)
        fail(f, error, SOON_FROM_LIBRARY, "the result could not be received");
    if (error == -EBADMSG)
        condemn(seat, "a result that makes no sense");
    return error != -EBADMSG;
}

static bool end_errand(struct seat *seat, const struct entry *entry)
{
    struct soon__slot *slot = soon__slot_at(entry);
    struct finding found = read_slot(slot);
    char text[MESSAGE_MAX / 8];

    if (entry->revoked || entry->errand != SOON__ERRAND_INITIALIZE)
        return true;
    if (found.code == 0) {
        drop_value(seat, entry->position, &found);
        return true;
    }
    if (!read_message(seat, slot, &found, text, sizeof text))
        *text = '\0';
    soon__break(seat->pool, "the initializer failed with %d%s%s", found.code, *text ? ": " : "",
                text);
    return true;
}

/* ---- one seat ---- */

enum verdict { VERDICT_OVER, VERDICT_NOT_YET, VERDICT_NONSENSE };

static enum verdict judge(const struct entry *entry)
{
    struct soon__slot *slot = soon__slot_at(entry);

    if (entry->filling)
        return VERDICT_NOT_YET;
    /* seq_cst: one of the bell's Dekker pair; acquires the result. */
    uint32_t state = atomic_load(&slot->state);
    if (state >> 3 != (entry->position & UINT32_MAX >> 3))
        return VERDICT_NONSENSE;
    switch (state & 7) {
    case SOON__SLOT_DONE:
        return VERDICT_OVER;
    case SOON__SLOT_PASSED:
        return entry->revoked ? VERDICT_OVER : VERDICT_NONSENSE;
    case SOON__SLOT_REVOKED:
        return entry->revoked ? VERDICT_NOT_YET : VERDICT_NONSENSE;
    case SOON__SLOT_QUEUED:
        return entry->begun ? VERDICT_NONSENSE : VERDICT_NOT_YET;
    case SOON__SLOT_TAKEN:
        return VERDICT_NOT_YET;
    default:
        return VERDICT_NONSENSE;
    }
}

bool soon__is_ready(struct seat *seat)
{
    return !seat->corrupt && seat->head != seat->tail &&
           judge(soon__entry_at(seat, seat->head)) != VERDICT_NOT_YET;
}

/* Marks what is over, from the head on; their number. Who then finds a future
 * done finds its worker idle. */
static unsigned mark(struct seat *seat)
{
    unsigned n = 0;

    if (seat->corrupt)
        return 0;
    for (uint32_t p = seat->head; p != seat->tail; p++, n++) {
        struct entry *entry = soon__entry_at(seat, p);
        enum verdict verdict = judge(entry);
        if (verdict == VERDICT_NONSENSE) {
            seat->corrupt = "a state that makes no sense";
            soon__seat_doom(seat, REASON_CORRUPT, SIGKILL);
        }
        if (verdict != VERDICT_OVER)
            break;
        entry->over = true;
        seat->n_live -= entry->future != NULL;
    }
    if (n)
        soon__seat_started(seat);
    soon__seat_sort(seat);
    return n;
}

/* Exponentially smoothed over about four tasks. */
static void pace(struct seat *seat, struct entry *entry)
{
    uint64_t spent = read_slot(soon__slot_at(entry)).spent;

    if (spent > INT64_MAX / 8)
        spent = INT64_MAX / 8;
    seat->proven = seat->pool->trust;
    seat->pace = seat->pace == PACE_UNKNOWN ? spent : (3 * seat->pace + spent) / 4;
}

/* Frees the slots of what has been completed; the references in done are to be
 * dropped. */
static unsigned clear(struct seat *seat, unsigned n, soon_future **done)
{
    unsigned n_done = 0;

    for (; n; n--, seat->head++) {
        struct entry *entry = soon__entry_at(seat, seat->head);
        if (entry->errand == SOON__ERRAND_TASK && !entry->revoked)
            pace(seat, entry);
        soon__seat_moved(seat);
        seat->n_revoked -= entry->revoked;
        if (entry->future)
            done[n_done++] = entry->future;
        entry->future = NULL;
        seat->args_head = entry->args_end;
    }
    return n_done;
}

/* A worker that has done all that it may do, or has survived its SIGTERM. */
static void send_off(struct seat *seat)
{
    struct pool *pool = seat->pool;

    if (seat->n_live || seat->finishing || seat->phase == SEAT_VACANT)
        return;
    if (seat->phase == SEAT_DOOMED && seat->reason != REASON_FINISH) {
        if (seat->head == seat->tail && seat->reason != REASON_NURSERY)
            soon__seat_doom(seat, seat->reason, SIGKILL);
        return;
    }
    if (pool->max_tasks && seat->n_given >= pool->max_tasks)
        soon__seat_finish(seat);
}

/* How many of the n entries from head on it could complete. Who collects these with
 * patience sleeps on meanwhile, and while there are more in the queue and they are quick: a
 * wake-up takes as long as some tasks, and where all CPUs are at work it takes this
 * thread's. */
static unsigned complete_marked(struct seat *seat, uint32_t head, unsigned n, bool timed_out)
{
    bool busy = soon__set_busy(true);
    unsigned n_good = 0;

    while (n_good < n) {
        struct entry *entry = soon__entry_at(seat, head + n_good);
        if (!(entry->errand == SOON__ERRAND_TASK ? complete(seat, entry, timed_out)
                                                 : end_errand(seat, entry)))
            break;
        n_good++;
    }
    soon__set_busy(busy);
    return n_good;
}

bool soon__collect_seat(struct seat *seat)
{
    struct pool *pool = seat->pool;
    soon_future *done[SOON__RING];

    soon__lock_acquire(&pool->lock);
    uint32_t head = seat->head;
    unsigned n = mark(seat);
    bool timed_out = seat->reason == REASON_TIMEOUT;
    soon__lock_release(&pool->lock);
    if (!n)
        return false;
    unsigned n_good = complete_marked(seat, head, n, timed_out);
    soon__lock_acquire(&pool->lock);
    unsigned n_done = clear(seat, n_good, done);
    if (n_done && soon__seat_is_trusted(seat))
        pool->quick = pool->moved = true;
    for (uint32_t p = seat->head; p != head + n; p++) { /* the worker's death will see to them */
        soon__entry_at(seat, p)->over = false;
        seat->n_live += soon__entry_at(seat, p)->future != NULL;
    }
    send_off(seat);
    soon__seat_sort(seat);
    soon__pump(pool);
    bool more = pool->queue.count && soon__seat_is_trusted(seat);
    soon__lock_release(&pool->lock);
    if (!more)
        soon__wake_owed();
    while (n_done)
        soon_future_unref(done[--n_done]);
    return n_good > 0;
}

bool soon__collect(struct pool *pool)
{
    bool any = false;

    /* Seats leave the list in this thread only; others may add one in front. */
    soon__lock_acquire(&pool->lock);
    struct seat *seat = pool->busy;
    while (seat) {
        struct seat *next = seat->next_busy;
        bool ready = soon__is_ready(seat);
        soon__lock_release(&pool->lock);
        if (ready)
            any |= soon__collect_seat(seat);
        soon__lock_acquire(&pool->lock);
        seat = next;
    }
    soon__lock_release(&pool->lock);
    return any;
}
