/* SPDX-License-Identifier: MIT */
/*
 * The system in world.h: descriptors, time, and the lives of workers.
 */
#include "world.h"

#include "os/event.h"
#include "os/own_fd.h"
#include "os/packet.h"
#include "os/patience.h"
#include "os/poll.h"
#include "os/thread.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

enum {
    FD_POKE = WORLD_FD,
    FD_BELL,
    FD_OTHER,
    FD_PARCELS_OUT = WORLD_FD + 300, /* + life */
    FD_PARCELS_IN = WORLD_FD + 400,  /* + life */
};

enum { PARCELS = 8, REPORTS = 2 * WORLD_LIVES, CLOSED = WORLD_LIVES + 1 };

/* What is readable. */
enum { POKED = 1, REPORTED = 2, RUNG = 4 };

/* A worker. */
struct life {
    int fds[SOON__BORN_FDS];
    struct {
        struct soon__parcel parcel;
        int file;
    } sent[PARCELS];
    unsigned n_sent, n_received;
    bool doomed; /* SIGKILL is on its way */
    bool died;   /* not as it was told to */
    bool left;   /* given up by the pool */
};

unsigned world_deaths, world_n_deaths;
bool world_untouchable;
void *(*world_thread)(void *arg);

static struct life lives[WORLD_LIVES];
static struct life *alive;
static jmp_buf end_of_life;
static struct {
    bool born;
    const struct life *life;
    struct soon__exit how;
} reports[REPORTS];
static int stays; /* 1 + a life that the nursery may not end, until it is read. Under the lock */
static soon__futex n_reports;
static unsigned n_reports_read;
static soon__futex asked_for; /* lives, or CLOSED */
static soon__futex readable;
static soon_ns now;
static unsigned current; /* thread */

/* ---- descriptors ---- */

/* acq_rel, here and where they are read: who writes to a descriptor and who is
 * woken by that hold the same lock in the kernel. show() relies on it. */
static void make_readable(uint32_t what)
{
    atomic_fetch_or_explicit(&readable, what, memory_order_acq_rel);
    model_wake(&readable, INT_MAX);
}

/* What the monitor would find, if it looked for the reason that a bell rings. */
static const char *reason_to_ring(void)
{
    const char *reason = "nothing";

    for (unsigned i = 0; i < SOON__RING; i++) {
        const struct soon__channel *channel = world_channel((unsigned)(alive - lives));
        uint64_t phase = model_peek(&channel->slot[i].state) & 7;
        if (phase == SOON__SLOT_TAKEN || phase == SOON__SLOT_DONE)
            return phase == SOON__SLOT_TAKEN ? "taken" : "done";
        if (phase == SOON__SLOT_PASSED)
            reason = "passed";
    }
    return reason;
}

void soon__event_set(int fd)
{
    if (fd == FD_POKE)
        make_readable(POKED);
    else if (model_call(__func__, reason_to_ring()))
        make_readable(RUNG);
}

void soon__event_clear(int fd)
{
    (void)fd;
    atomic_fetch_and_explicit(&readable, ~(uint32_t)POKED, memory_order_acq_rel);
}

/* One is told of a bell once, of a poke until it is cleared, and of reports
 * until they are read, which is at once. */
unsigned soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline)
{
    uint32_t seen;
    unsigned found = 0;

    (void)poll_fd, (void)n, (void)deadline;
    while (!(seen = atomic_fetch_and_explicit(&readable, POKED, memory_order_acq_rel)))
        model_sleep(&readable, 0, false);
    if (seen & POKED)
        tokens[found++] = TOKEN_POKE;
    if (seen & REPORTED)
        tokens[found++] = TOKEN_REPORT;
    if (seen & RUNG)
        tokens[found++] = TOKEN_BELL;
    return found;
}

int soon__poll_add(int poll_fd, int fd, uint64_t token, bool edge)
{
    (void)poll_fd, (void)fd, (void)token, (void)edge;
    return 0;
}

int soon__event_new(void)
{
    return FD_BELL;
}

void soon__own_fd(int fd)
{
    (void)fd;
}

void soon__own_fd_close(int fd)
{
    (void)fd;
}

struct soon__kept_fd soon__fd_keep(int fd)
{
    return (struct soon__kept_fd){.fd = fd};
}

bool soon__fd_is_kept(const struct soon__kept_fd *kept)
{
    (void)kept;
    return true;
}

int soon__packet_pair(int fds[2])
{
    fds[0] = FD_PARCELS_OUT + (int)world_n_lives - 1;
    fds[1] = FD_PARCELS_IN + (int)world_n_lives - 1;
    return 0;
}

/* To a worker; none has a reason to send any. */
int soon__packet_send(int fd, const void *data, size_t len, const int *fds, unsigned n, bool wait)
{
    struct life *to = &lives[fd - FD_PARCELS_OUT];

    (void)wait;
    model_expect(len == sizeof(struct soon__parcel) && n == 1, "an odd parcel");
    model_expect(to->n_sent < PARCELS, "more parcels than there is room for");
    to->sent[to->n_sent].parcel = *(const struct soon__parcel *)data;
    to->sent[to->n_sent++].file = *fds;
    return 0;
}

int soon__packet_receive(int fd, void *data, size_t len, int *fds, unsigned *n, bool wait)
{
    struct life *in = &lives[fd - FD_PARCELS_IN];

    (void)len, (void)wait;
    world_perhaps_die();
    model_expect(in->n_received < in->n_sent, "a worker waits for a file that was not sent");
    *fds = in->sent[in->n_received].file;
    *n = 1;
    *(struct soon__parcel *)data = in->sent[in->n_received++].parcel;
    return 0;
}

/* ---- time ---- */

/* Who spins looks once or twice, and then it is too late. */
soon_ns soon__now(void)
{
    world_perhaps_die();
    return now += 30000;
}

soon_ns soon__deadline(soon_ns timeout)
{
    return now + timeout;
}

void soon__spin_prepare(void)
{
}

/* Now and then a worker does, too; not more often, as it takes long. */
bool soon__spin_pays(void)
{
    world_perhaps_die();
    return current != WORLD_WORKER || model_choose(8) == 0;
}

/* Who sleeps until a future is done is not in this world. */
bool soon__set_busy(bool busy)
{
    (void)busy;
    return false;
}

void soon__wake_owed(void)
{
}

/* ---- a worker ---- */

static void report(bool born, struct soon__exit how)
{
    /* relaxed: nobody else writes it. */
    uint32_t n = atomic_load_explicit(&n_reports, memory_order_relaxed);

    model_expect(n < REPORTS, "more reports than there is room for");
    reports[n].born = born;
    reports[n].life = alive;
    reports[n].how = how;
    /* release: a socket hands over what was before, too. */
    atomic_store_explicit(&n_reports, n + 1, memory_order_release);
    make_readable(REPORTED);
}

void world_perhaps_die(void)
{
    if (current != WORLD_WORKER)
        return;
    if (!alive->doomed) {
        if (!world_deaths || model_choose(8) != 0)
            return;
        world_deaths--;
    }
    alive->died = true;
    world_n_deaths++;
    longjmp(end_of_life, 1);
}

/* worker.c is compiled to call this instead of _exit(), by a macro, which in
 * unistd.h declares it. */
void _exit(int status)
{
    model_expect(status == 0 || alive->left, "a worker gave up");
    longjmp(end_of_life, 1);
}

static void live(void)
{
    if (setjmp(end_of_life) == 0)
        soon__worker_live(alive->fds, false);
}

void world_be_born(void)
{
    alive = &lives[world_n_lives - 1];
    report(true, (struct soon__exit){0});
}

/* The first of its lives has been reported already. */
void world_worker(void)
{
    uint32_t n;

    for (uint32_t lived = 0; (n = atomic_load(&asked_for)) != CLOSED;) {
        if (n == lived) {
            model_sleep(&asked_for, n, false);
            continue;
        }
        if (lived > 0)
            world_be_born();
        live();
        lived++;
        report(false, (struct soon__exit){.signal = alive->died ? SIGKILL : 0});
    }
}

int soon__futex_wait_shared(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    world_perhaps_die();
    model_sleep(word, expected, deadline != SOON__NEVER);
    world_perhaps_die();
    return 0;
}

int soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    model_sleep(word, expected, deadline != SOON__NEVER);
    return 0;
}

void soon__futex_wake(const soon__futex *word, int n)
{
    model_wake(word, n);
}

void soon__futex_wake_shared(const soon__futex *word, int n)
{
    model_wake(word, n);
}

void soon__process_name(const char *base, unsigned number)
{
    (void)base, (void)number;
}

bool soon__process_dies_with(pid_t parent)
{
    (void)parent;
    return true;
}

struct soon__owner soon__process_owner(void)
{
    return (struct soon__owner){0};
}

const volatile bool *soon__process_mark(void)
{
    static const volatile bool mark = true;

    return &mark;
}

int soon__process_limit_memory(size_t more)
{
    (void)more;
    return 0;
}

/* One who sleeps dies, too. */
int soon__process_signal(int pidfd, int signal)
{
    (void)pidfd;
    model_expect(signal == SIGKILL, "an odd signal");
    if (world_untouchable)
        return -EPERM;
    if (alive->died)
        return -ESRCH;
    alive->doomed = true;
    model_wake(&world_channel((unsigned)(alive - lives))->asleep, 1);
    return 0;
}

/* ---- the nursery ---- */

int soon__nursery_start(struct soon__nursery *nursery, struct soon__berth berth,
                        const int fds[SOON__BORN_FDS])
{
    (void)nursery;
    model_expect(berth.generation == world_n_lives - 1, "a worker for a seat that is taken");
    memcpy(lives[world_n_lives - 1].fds, fds, sizeof lives->fds);
    atomic_store(&asked_for, world_n_lives);
    model_wake(&asked_for, 1);
    return 0;
}

int soon__nursery_signal(struct soon__nursery *nursery, struct soon__berth berth, int signal)
{
    (void)nursery, (void)signal;
    model_expect(world_untouchable, "the program signals its workers itself");
    stays = (int)berth.generation + 1;
    make_readable(REPORTED);
    return 0;
}

void soon__nursery_close(struct soon__nursery *nursery)
{
    (void)nursery;
    atomic_store(&asked_for, CLOSED);
    model_wake(&asked_for, 1);
}

static bool read_stays(struct pool *pool)
{
    struct seat *seat = pool->seats[0];

    soon__lock_acquire(&pool->lock);
    bool any = stays == (int)seat->generation + 1;
    if (any) {
        seat->beyond = -EPERM;
        lives[stays - 1].left = true;
    }
    stays = 0;
    soon__lock_release(&pool->lock);
    if (any)
        soon__bury(seat, (struct soon__exit){0});
    return any;
}

/* Workers can always be had. */
void soon__start_failed(struct pool *pool, int error)
{
    (void)pool;
    model_expect(!error, "a worker could not be had");
}

bool soon__is_hopeless(const struct pool *pool)
{
    (void)pool;
    return false;
}

/* As in reports.c, of a nursery to which nothing happens. */
bool soon__read_reports(struct pool *pool)
{
    struct seat *seat = pool->seats[0];
    bool any = read_stays(pool);

    /* acquire: pairs with the release in report(). */
    for (; n_reports_read < atomic_load_explicit(&n_reports, memory_order_acquire); any = true) {
        unsigned i = n_reports_read++;
        if (!reports[i].born && reports[i].life->left)
            continue;
        if (!reports[i].born) {
            model_expect(!seat->corrupt, "a worker was not believed");
            soon__bury(seat, reports[i].how);
            continue;
        }
        soon__lock_acquire(&pool->lock);
        seat->pid = 1;
        seat->pidfd = FD_OTHER;
        pool->n_alive++;
        soon__seat_started(seat);
        soon__seat_signal(seat);
        soon__lock_release(&pool->lock);
    }
    return any;
}

int soon__thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *arg)
{
    (void)thread, (void)stack_size, (void)arg;
    model_expect(!world_thread, "one thread is enough");
    world_thread = run;
    return 0;
}

/* ---- before, between and after ---- */

void world_os_begin(void)
{
    memset(lives, 0, sizeof lives);
    n_reports_read = world_n_deaths = 0;
    stays = 0;
    world_untouchable = false;
    now = 0;
    alive = NULL;
    world_thread = NULL;
    atomic_init(&n_reports, 0);
    atomic_init(&asked_for, 0);
    atomic_init(&readable, 0);
    MODEL_BIND(n_reports, "n_reports");
    MODEL_BIND(asked_for, "asked_for");
    MODEL_BIND(readable, "readable");
    world_pool.poke_fd = FD_POKE;
    world_pool.poll_fd = world_pool.nursery.fd = FD_OTHER;
}

void world_resumed(unsigned self)
{
    current = self;
}

/* Who died may have had blocks. */
void world_os_end(void)
{
    for (unsigned i = 0; i < world_n_lives; i++)
        if (!lives[i].died)
            model_expect(atomic_load(&world_channel(i)->blocks) == 0, "a block was leaked");
}
