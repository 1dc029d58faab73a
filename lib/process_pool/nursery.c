/* SPDX-License-Identifier: MIT */
/*
 * The thread of a nursery makes the twin and sleeps until that has ended. Then
 * it ends the connection, of which others may have copies that they don't know
 * of (whatever the program forks), and calls gone().
 *
 *     state   0 starting --> 1 ready
 *                        \-> 2 did not start
 *
 * The twin, which writes to the program's memory, says that the nursery is
 * ready; the thread, once there is no twin that could, that it did not start.
 */
#include "process_pool/nursery.h"

#include "core/mem.h"
#include "os/clock.h"
#include "os/own_fd.h"
#include "os/packet.h"
#include "process_pool/brood.h"
#include "process_pool/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { STARTING, READY, FAILED };

static void set_state(struct soon__nursery *nursery, uint32_t state)
{
    atomic_store(&nursery->state, state);
    soon__futex_wake(&nursery->state, 1);
}

/* ---- in the twin ---- */

/* Of the program's memory a copy, of its descriptors too: those that are the
 * library's it leaves. */
static _Noreturn void live_apart(struct soon__nursery *nursery, pid_t parent)
{
    const int keep[] = {nursery->far_fd, nursery->bell, nursery->program};

    soon__process_title("soon-nursery");
    if (soon__process_hears_of(parent)) {
        soon__own_fds_leave(keep, 3);
        nursery->fd = -1;
        nursery->parent = parent;
        soon__brood_tend(nursery);
    }
    _exit(EXIT_SUCCESS);
}

/* It ends by itself when the connection does, unless somebody has stopped it. */
static void see_it_end(const struct soon__nursery *nursery, pid_t pid)
{
    struct soon__exit how;

    while (soon__process_ended(&how) == 0)
        if (!soon__process_await(nursery->bell, nursery->far_fd, false, nursery->program)) {
            soon__process_continue(pid);
            break;
        }
    soon__process_bury(pid);
}

static void fork_nursery(struct soon__nursery *nursery)
{
    pid_t self = getpid();

    soon__process_hear(); /* or else there may be nothing to bury */
    pid_t pid = soon__process_fork();
    if (pid == 0)
        live_apart(nursery, self);
    if (pid < 0) {
        nursery->error = pid;
        return;
    }
    set_state(nursery, READY); /* the memory has been copied */
    soon__process_title("soon-twin");
    see_it_end(nursery, pid);
}

static void live(void *arg)
{
    struct soon__nursery *nursery = arg;

    if (nursery->method == SOON_START_FORKSERVER) {
        fork_nursery(nursery);
        return;
    }
    set_state(nursery, READY);
    soon__brood_tend(nursery);
}

/* ---- the thread ---- */

static void *tend(void *arg)
{
    struct soon__nursery *nursery = arg;

    soon__process_title("soon-nursery");
    int error = soon__process_twin(live, nursery, &nursery->twin);
    soon__packet_end(nursery->far_fd);
    soon__brood_let_go(nursery);
    if (atomic_load(&nursery->state) == READY) {
        nursery->gone(nursery->arg);
        return NULL;
    }
    if (error)
        nursery->error = error;
    set_state(nursery, FAILED);
    return NULL;
}

/* ---- in the program ---- */

static const size_t children_size = SOON__CHILDREN_MAX * sizeof(struct soon__child);

static int furnish(struct soon__nursery *nursery)
{
    int fds[2];

    int error = soon__packet_pair(fds);
    if (error)
        return error;
    nursery->fd = fds[0];
    nursery->far_fd = fds[1];
    nursery->bell = soon__process_bell();
    if (nursery->bell < 0)
        return nursery->bell;
    soon__own_fd(nursery->fd);
    soon__own_fd(nursery->far_fd);
    soon__own_fd(nursery->bell);
    nursery->program = soon__process_open(getpid());
    if (nursery->program < 0)
        return nursery->program;
    soon__own_fd(nursery->program);
    nursery->child = soon__alloc(children_size);
    if (nursery->method == SOON_START_SPAWN && !nursery->spawning)
        nursery->spawning = soon__spawning_new();
    bool all = nursery->child && (nursery->spawning || nursery->method != SOON_START_SPAWN);
    return all ? 0 : -ENOMEM;
}

static void strip(struct soon__nursery *nursery)
{
    soon__free(nursery->child, children_size);
    nursery->child = NULL;
    soon__own_fd_close(nursery->program);
    soon__own_fd_close(nursery->bell);
    soon__own_fd_close(nursery->far_fd);
    soon__own_fd_close(nursery->fd);
    nursery->fd = nursery->far_fd = nursery->bell = nursery->program = -1;
}

/* -EAGAIN as the answer if the twin was killed before it could say more. */
static int start(struct soon__nursery *nursery)
{
    int error = soon__thread_start(&nursery->thread, soon__process_twin_stack(), tend, nursery);

    if (error)
        return error;
    while (atomic_load(&nursery->state) == STARTING)
        soon__futex_wait(&nursery->state, STARTING, SOON__NEVER);
    if (atomic_load(&nursery->state) == READY)
        return 0;
    pthread_join(nursery->thread, NULL);
    return nursery->error;
}

static int open_one(struct soon__nursery *nursery)
{
    nursery->fd = nursery->far_fd = nursery->bell = nursery->program = -1;
    nursery->child = NULL;
    nursery->parent = 0;
    nursery->error = -EAGAIN;
    for (int i = 0; i <= SOON__HELD_PIDFD; i++)
        nursery->held[i] = -1;
    atomic_store(&nursery->twin, 0);
    atomic_store(&nursery->state, STARTING);
    int error = furnish(nursery);
    if (!error)
        error = start(nursery);
    if (error)
        strip(nursery);
    return error;
}

int soon__nursery_open(struct soon__nursery *nursery)
{
    nursery->spawning = NULL;
    int error = open_one(nursery);
    if (error) {
        soon__spawning_free(nursery->spawning);
        nursery->spawning = NULL;
    }
    return error;
}

int soon__nursery_start(struct soon__nursery *nursery, struct soon__berth berth,
                        const int fds[SOON__BORN_FDS])
{
    const struct soon__request request = {.kind = SOON__REQUEST_START, .berth = berth};

    return soon__packet_send(nursery->fd, &request, sizeof request, fds, SOON__BORN_FDS, false);
}

int soon__nursery_signal(struct soon__nursery *nursery, struct soon__berth berth, int signal)
{
    const struct soon__request request = {
        .kind = SOON__REQUEST_SIGNAL, .berth = berth, .signal = signal};

    return soon__packet_send(nursery->fd, &request, sizeof request, NULL, 0, false);
}

/* There is a worker, but its pidfd has found no room. The nursery sees to its
 * end, or, if it cannot even be told that, to its own. */
static void send_back(struct soon__nursery *nursery, struct soon__report *report)
{
    if (soon__nursery_signal(nursery, report->berth, SIGKILL) != 0)
        soon__packet_end(nursery->fd);
    *report = (struct soon__report){
        .kind = SOON__REPORT_FAILED, .berth = report->berth, .pidfd = -1, .error = -EMFILE};
}

static bool makes_sense(const struct soon__report *report, unsigned n)
{
    switch (report->kind) {
    case SOON__REPORT_BORN:
        return n == 1 && report->pid > 0;
    case SOON__REPORT_FAILED:
        return n == 0 && report->error < 0;
    case SOON__REPORT_DIED:
        return n == 0 && report->pid > 0;
    case SOON__REPORT_STAYS:
        return n == 0 && report->pid > 0 && report->error < 0;
    }
    return false;
}

int soon__nursery_read(struct soon__nursery *nursery, struct soon__report *report)
{
    int pidfd = -1;
    unsigned n = 1;

    int error = soon__packet_receive(nursery->fd, report, sizeof *report, &pidfd, &n, false);
    if (error == -EMFILE && report->kind == SOON__REPORT_BORN) {
        send_back(nursery, report);
        return 0;
    }
    if (error == -EAGAIN)
        return error;
    if (!error && makes_sense(report, n)) {
        report->pidfd = pidfd;
        return 0;
    }
    /* Gone, or out of its mind and to be gone. */
    if (n && !error)
        close(pidfd);
    soon__packet_end(nursery->fd);
    return -EPIPE;
}

static void end(struct soon__nursery *nursery)
{
    if (nursery->fd < 0)
        return;
    soon__packet_end(nursery->fd);
    pid_t twin = atomic_load(&nursery->twin);
    if (twin) /* it ends by itself too; see see_it_end() */
        soon__process_continue(twin);
    pthread_join(nursery->thread, NULL);
    strip(nursery);
}

int soon__nursery_reopen(struct soon__nursery *nursery)
{
    end(nursery);
    return open_one(nursery);
}

void soon__nursery_close(struct soon__nursery *nursery)
{
    end(nursery);
    soon__spawning_free(nursery->spawning);
    nursery->spawning = NULL;
}
