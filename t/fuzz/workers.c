/* SPDX-License-Identifier: MIT */
/*
 * The nursery, and workers that are no processes: each one is a mapping of its
 * channel and two descriptors, got as a process would get them. nursery.o is
 * not linked.
 *
 * Here a worker does what it should, whatever has been done to its channel
 * before. Where that is not possible it is the pool's turn to see that, and to
 * kill it; so in the end every task is done, or something is wrong.
 */
#include "fuzz.h"

#include "os/event.h"
#include "os/own_fd.h"
#include "os/packet.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REPORTS = 16 };

struct fuzz_worker fuzz_workers[FUZZ_WORKERS];
int fuzz_start_error;
unsigned fuzz_nursery_errors;

static struct soon__report reports[REPORTS];
static unsigned n_reports;
static struct soon__nursery *nursery; /* the pool's, while it is open */
static bool nursery_gone;
static pid_t next_pid;

int __wrap_soon__process_signal(int pidfd, int signal);

/* ---- lives ---- */

static struct soon__channel *map_channel(int fd)
{
    void *memory = mmap(NULL, SOON__CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(memory != MAP_FAILED, "the channel can be mapped by its worker");
    return memory;
}

static void vanish(struct fuzz_worker *w)
{
    munmap(w->channel, SOON__CHANNEL_SIZE);
    close(w->bell);
    if (w->parcels >= 0)
        close(w->parcels);
    for (unsigned i = 0; i < w->n_kept; i++)
        close(w->kept[i]);
    w->life = FUZZ_NOBODY;
}

static void vanish_all(void)
{
    for (int i = 0; i < FUZZ_WORKERS; i++)
        if (fuzz_workers[i].life != FUZZ_NOBODY)
            vanish(&fuzz_workers[i]);
}

struct seat *fuzz_seat_of(const struct fuzz_worker *w)
{
    struct seat *seat = w->life != FUZZ_NOBODY && w->berth.seat < fuzz_pool->n_seats
                            ? fuzz_pool->seats[w->berth.seat]
                            : NULL;

    return seat && seat->phase != SEAT_VACANT && seat->generation == w->berth.generation ? seat
                                                                                         : NULL;
}

void fuzz_workers_begin(void)
{
    for (int i = 0; i < FUZZ_WORKERS; i++)
        fuzz_workers[i].life = FUZZ_NOBODY;
    n_reports = 0;
    next_pid = 1000;
    nursery = NULL;
    nursery_gone = false;
    fuzz_start_error = 0;
    fuzz_nursery_errors = 0;
}

/* ---- reports ---- */

static void report(const struct soon__report *what)
{
    REQUIRE(n_reports < REPORTS, "the pool reads its reports");
    reports[n_reports++] = *what;
    soon__event_set(nursery->fd);
}

/* A worker whose descriptor finds no room in the program is born and killed. */
void fuzz_bear(struct fuzz_worker *w, int error)
{
    struct soon__report what = {.kind = error ? SOON__REPORT_FAILED : SOON__REPORT_BORN,
                                .berth = w->berth,
                                .error = error,
                                .pidfd = -1};

    w->pid = ++next_pid;
    if (!error) {
        what.pid = w->pid;
        what.pidfd = w->pidfd = eventfd(0, EFD_CLOEXEC); /* as good as any other */
        w->life = FUZZ_ALIVE;
    }
    fuzz_trace("  worker %u is %s", what.berth.seat, error ? "not born" : "born");
    report(&what);
    w->signal = error ? SIGKILL : 0;
    if (error == -EMFILE)
        fuzz_end(w, (struct soon__exit){0});
    else if (error)
        vanish(w);
}

void fuzz_end(struct fuzz_worker *w, struct soon__exit how)
{
    struct soon__report what = {
        .kind = SOON__REPORT_DIED, .berth = w->berth, .pid = w->pid, .pidfd = -1, .how = how};

    if (w->signal == SIGKILL)
        what.how = (struct soon__exit){.signal = SIGKILL};
    fuzz_trace("  worker %u ends: signal %d, code %d", what.berth.seat, what.how.signal,
               what.how.code);
    vanish(w);
    report(&what);
}

void fuzz_nursery_ends(void)
{
    if (!nursery || nursery_gone)
        return;
    fuzz_trace("  the nursery ends");
    vanish_all();
    nursery_gone = true;
    soon__event_set(nursery->fd);
    /* In one go: a real nursery has a thread for that, and is closed when that
     * has come to its end. */
    fuzz_blind(true);
    nursery->gone(nursery->arg);
    fuzz_blind(false);
}

/* ---- lib/process_pool/nursery.c, and signals ---- */

int soon__nursery_open(struct soon__nursery *opened)
{
    opened->fd = fuzz_nursery_errors ? -EAGAIN : soon__event_new();
    if (fuzz_nursery_errors)
        fuzz_nursery_errors--;
    if (opened->fd < 0)
        return opened->fd;
    soon__own_fd(opened->fd);
    nursery = opened;
    n_reports = 0;
    nursery_gone = false;
    return 0;
}

/* Reports that nobody has read take their descriptors along. */
static void close_nursery(void)
{
    vanish_all();
    while (n_reports)
        if (reports[--n_reports].kind == SOON__REPORT_BORN)
            close(reports[n_reports].pidfd);
    soon__own_fd_close(nursery->fd);
    nursery->fd = -1;
    nursery = NULL;
}

int soon__nursery_reopen(struct soon__nursery *again)
{
    REQUIRE(nursery ? again == nursery && nursery_gone : again->fd < 0, "the nursery is gone");
    if (nursery)
        close_nursery();
    return soon__nursery_open(again);
}

int soon__nursery_start(struct soon__nursery *asked, struct soon__berth berth,
                        const int fds[SOON__BORN_FDS])
{
    int error = nursery_gone ? -EPIPE : fuzz_start_error;

    REQUIRE(asked == nursery, "the nursery that is asked is open");
    fuzz_start_error = 0;
    if (error)
        return error;
    REQUIRE(berth.seat < FUZZ_WORKERS, "no more workers are asked for than there may be");
    struct fuzz_worker *w = &fuzz_workers[berth.seat];
    REQUIRE(w->life == FUZZ_NOBODY, "the seat's last worker has ended");
    *w = (struct fuzz_worker){.life = FUZZ_UNBORN,
                              .berth = berth,
                              .channel = map_channel(fds[SOON__FD_CHANNEL]),
                              .bell = fcntl(fds[SOON__FD_BELL], F_DUPFD_CLOEXEC, 0),
                              .parcels = fcntl(fds[SOON__FD_PARCELS], F_DUPFD_CLOEXEC, 0),
                              .pidfd = -1};
    fuzz_trace("  worker %u is asked for", berth.seat);
    return 0;
}

/* No signal is ever refused (see below). */
int soon__nursery_signal(struct soon__nursery *asked, struct soon__berth berth, int signal)
{
    (void)asked;
    (void)berth;
    REQUIRE(!signal, "the program signals its workers itself");
    return 0;
}

int soon__nursery_read(struct soon__nursery *asked, struct soon__report *out)
{
    REQUIRE(asked == nursery, "the nursery that is asked is open");
    if (n_reports) {
        *out = reports[0];
        memmove(reports, reports + 1, --n_reports * sizeof *reports);
        return 0;
    }
    if (nursery_gone)
        return -EPIPE;
    soon__event_clear(nursery->fd);
    return -EAGAIN;
}

void soon__nursery_close(struct soon__nursery *closed)
{
    if (closed->fd < 0)
        return;
    REQUIRE(closed == nursery, "the nursery that is closed is open");
    if (!nursery_gone)
        nursery->gone(nursery->arg);
    close_nursery();
}

bool soon__nursery_born_here(int fds[SOON__BORN_FDS])
{
    (void)fds;
    return false;
}

int __wrap_soon__process_signal(int pidfd, int signal)
{
    REQUIRE(fcntl(pidfd, F_GETFD) >= 0, "a signal goes to a process");
    for (int i = 0; i < FUZZ_WORKERS; i++) {
        struct fuzz_worker *w = &fuzz_workers[i];
        if (w->life != FUZZ_ALIVE || w->pidfd != pidfd)
            continue;
        fuzz_trace("  worker %d gets signal %d", i, signal);
        if (w->signal != SIGKILL)
            w->signal = signal;
        return 0;
    }
    return -ESRCH;
}

/* ---- a worker in its right mind ---- */

struct soon__slot *fuzz_slot(const struct fuzz_worker *w, uint32_t position)
{
    return soon__slot_of(w->channel, position);
}

uint32_t fuzz_state(const struct fuzz_worker *w, uint32_t position)
{
    return atomic_load(&fuzz_slot(w, position)->state);
}

void fuzz_ring(struct fuzz_worker *w, enum soon__bell at_least)
{
    if (atomic_load(&w->channel->bell) >= (uint32_t)at_least &&
        atomic_exchange(&w->channel->bell, SOON__BELL_OFF))
        soon__event_set(w->bell);
}

static void take_parcel(struct fuzz_worker *w)
{
    struct soon__parcel parcel;
    int fd;
    unsigned n = 1;

    if (w->parcels >= 0 &&
        soon__packet_receive(w->parcels, &parcel, sizeof parcel, &fd, &n, false) == 0 && n == 1)
        close(fd);
}

static void take_parcel_of(struct fuzz_worker *w, const struct soon__slot *slot)
{
    if (slot->arg_where == SOON__IN_FILE || slot->arg_where == SOON__IN_NEW_STORE)
        take_parcel(w);
}

static void begin(struct fuzz_worker *w, uint32_t position)
{
    if (!soon__slot_turn(fuzz_slot(w, position), position, SOON__SLOT_TAKEN))
        return;
    take_parcel_of(w, fuzz_slot(w, position));
    fuzz_trace("  worker %u begins %u", w->berth.seat, (unsigned)position);
    fuzz_ring(w, SOON__BELL_BEGINS);
}

static void finish(struct fuzz_worker *w, uint32_t position)
{
    struct soon__slot *slot = fuzz_slot(w, position);

    memset(slot->value, 'v', 8);
    atomic_store(&slot->code, 0);
    atomic_store(&slot->value_where, SOON__IN_SLOT);
    atomic_store(&slot->value_len, 8);
    atomic_store(&slot->spent, 1000);
    atomic_store(&slot->state, soon__slot_state(position, SOON__SLOT_DONE));
    fuzz_trace("  worker %u has done %u", w->berth.seat, (unsigned)position);
    fuzz_ring(w, SOON__BELL_ENDS);
}

static void pass(struct fuzz_worker *w, uint32_t position)
{
    struct soon__slot *slot = fuzz_slot(w, position);

    take_parcel_of(w, slot);
    atomic_store(&slot->state, soon__slot_state(position, SOON__SLOT_PASSED));
    fuzz_trace("  worker %u passes %u", w->berth.seat, (unsigned)position);
    fuzz_ring(w, SOON__BELL_ENDS);
}

/* What is at position; false: it is for the pool to go on. */
static bool work_at(struct fuzz_worker *w, const struct entry *entry)
{
    uint32_t position = entry->position, state = fuzz_state(w, position);

    if (state == soon__slot_state(position, SOON__SLOT_QUEUED))
        begin(w, position);
    else if (state == soon__slot_state(position, SOON__SLOT_REVOKED))
        pass(w, position);
    else if (state != soon__slot_state(position, SOON__SLOT_TAKEN))
        return false;
    else if (entry->errand == SOON__ERRAND_FINISH)
        fuzz_end(w, (struct soon__exit){0});
    else
        finish(w, position);
    return true;
}

bool fuzz_work(struct fuzz_worker *w)
{
    struct seat *seat = fuzz_pool ? fuzz_seat_of(w) : NULL;

    if (!seat || w->life != FUZZ_ALIVE)
        return false;
    if (w->signal) {
        fuzz_end(w, (struct soon__exit){.signal = w->signal});
        return true;
    }
    for (uint32_t p = seat->head; p != seat->tail; p++) {
        uint32_t state = fuzz_state(w, p);
        if (state != soon__slot_state(p, SOON__SLOT_DONE) &&
            state != soon__slot_state(p, SOON__SLOT_PASSED))
            return work_at(w, soon__entry_at(seat, p));
    }
    /* FINISH has been done without it: it has returned from its last errand. */
    if (seat->finishing)
        fuzz_end(w, (struct soon__exit){0});
    return seat->finishing;
}

bool fuzz_work_one(void)
{
    for (int i = 0; i < FUZZ_WORKERS; i++) {
        struct fuzz_worker *w = &fuzz_workers[i];
        if (w->life == FUZZ_UNBORN) {
            fuzz_bear(w, 0);
            return true;
        }
        if (fuzz_work(w))
            return true;
    }
    return false;
}
