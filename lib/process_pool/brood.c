/* SPDX-License-Identifier: MIT */
#include "process_pool/brood.h"

#include "os/own_fd.h"
#include "os/packet.h"
#include "process_pool/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct brood {
    struct soon__nursery *nursery;
    unsigned n; /* children, alive or not yet buried */
};

/* ---- descriptors ---- */

/* A twin's are open in the program, where somebody has to close them if it is
 * killed: so they are noted, and a note is gone before its descriptor is, whose
 * number somebody else may have at once. */
static void hold(struct soon__nursery *nursery, int which, int fd)
{
    nursery->held[which] = fd;
    soon__own_fd(fd);
}

void soon__brood_let_go(struct soon__nursery *nursery)
{
    for (int i = 0; i <= SOON__HELD_PIDFD; i++) {
        int fd = nursery->held[i];
        nursery->held[i] = -1;
        soon__own_fd_close(fd);
    }
}

/* ---- telling the program ---- */

/* Who has a parent to lose may find that it has, whatever other processes still
 * have copies of the socket's other end. */
static bool is_alone(const struct soon__nursery *nursery)
{
    return nursery->parent && getppid() != nursery->parent;
}

/* Sleeps while the program is slow to read. 0, or a negative errno: nobody is
 * there, or, which comes to the same, can be reached. */
static int send_report(const struct soon__nursery *nursery, const struct soon__report *report,
                       const int *fds, unsigned n)
{
    for (;;) {
        int error = soon__packet_send(nursery->far_fd, report, sizeof *report, fds, n, false);
        if (error != -EAGAIN)
            return error;
        if (!soon__process_await_room(nursery->far_fd, nursery->program) || is_alone(nursery))
            return -EPIPE;
    }
}

static bool tell(struct brood *brood, const struct soon__report *report)
{
    return send_report(brood->nursery, report, NULL, 0) == 0;
}

static bool tell_failed(struct brood *brood, struct soon__berth berth, int error)
{
    const struct soon__report report = {
        .kind = SOON__REPORT_FAILED, .berth = berth, .pidfd = -1, .error = error};

    return tell(brood, &report);
}

/* With its pidfd, which only the parent can be sure is that child's. */
static int tell_born(struct brood *brood, struct soon__berth berth, pid_t pid)
{
    const struct soon__report report = {
        .kind = SOON__REPORT_BORN, .berth = berth, .pidfd = -1, .pid = pid};

    int pidfd = soon__process_open(pid);
    if (pidfd < 0)
        return pidfd;
    hold(brood->nursery, SOON__HELD_PIDFD, pidfd);
    return send_report(brood->nursery, &report, &pidfd, 1);
}

/* ---- birth ---- */

/* The socket is not for workers: what comes out of it the program believes. */
static void leave(struct soon__nursery *nursery)
{
    soon__own_fd_close(nursery->fd);
    soon__own_fd_close(nursery->far_fd);
    soon__own_fd_close(nursery->bell);
    soon__own_fd_close(nursery->program);
}

static pid_t fork_worker(struct soon__nursery *nursery, const int fds[SOON__BORN_FDS])
{
    pid_t parent = getpid(), pid = soon__process_fork();

    if (pid > 0)
        soon__process_own_group(pid);
    if (pid != 0)
        return pid;
    leave(nursery);
    if (soon__process_settle(parent))
        nursery->born(nursery->arg, fds);
    _exit(EXIT_SUCCESS);
}

static pid_t bear(struct brood *brood, const int fds[SOON__BORN_FDS])
{
    struct soon__nursery *nursery = brood->nursery;

    if (brood->n == SOON__CHILDREN_MAX)
        return -EAGAIN;
    return nursery->method == SOON_START_SPAWN ? soon__spawn_worker(nursery->spawning, fds)
                                               : fork_worker(nursery, fds);
}

static bool start(struct brood *brood, struct soon__berth berth, const int fds[SOON__BORN_FDS])
{
    pid_t pid = bear(brood, fds);
    if (pid < 0)
        return tell_failed(brood, berth, pid);
    int error = tell_born(brood, berth, pid);
    if (!error) {
        brood->nursery->child[brood->n++] = (struct soon__child){.pid = pid, .berth = berth};
        return true;
    }
    if (soon__process_kill(pid))
        soon__process_bury(pid);
    return error != -EPIPE && tell_failed(brood, berth, error);
}

/* ---- death ---- */

static const struct soon__child *child_of(const struct brood *brood, struct soon__berth berth)
{
    const struct soon__child *child = brood->nursery->child;

    for (unsigned i = 0; i < brood->n; i++)
        if (child[i].berth.seat == berth.seat && child[i].berth.generation == berth.generation)
            return &child[i];
    return NULL;
}

/* A task may have changed its worker's user, and the nursery lack the right to
 * signal that one. */
static bool signal_one(struct brood *brood, struct soon__berth berth, int signal)
{
    struct soon__report report = {.kind = SOON__REPORT_STAYS, .berth = berth, .pidfd = -1};
    const struct soon__child *child = child_of(brood, berth);

    if (!child)
        return true;
    report.pid = child->pid;
    report.error = soon__process_signal_child(child->pid, signal);
    return report.error == 0 || tell(brood, &report);
}

static bool forget(struct brood *brood, pid_t pid, struct soon__berth *berth)
{
    struct soon__child *child = brood->nursery->child;

    for (unsigned i = 0; i < brood->n; i++)
        if (child[i].pid == pid) {
            *berth = child[i].berth;
            child[i] = child[--brood->n];
            return true;
        }
    return false;
}

/* One bell may stand for many deaths. */
static bool bury_the_dead(struct brood *brood)
{
    struct soon__report report = {.kind = SOON__REPORT_DIED, .pidfd = -1};
    bool heard = true;

    while (heard && (report.pid = soon__process_ended(&report.how)) > 0) {
        soon__process_bury(report.pid);
        if (forget(brood, report.pid, &report.berth))
            heard = tell(brood, &report);
    }
    return heard;
}

/* Those that may not be killed are waited for by nobody. */
static void kill_all(struct brood *brood)
{
    struct soon__child *child = brood->nursery->child;
    unsigned dying = 0;

    for (unsigned i = 0; i < brood->n; i++)
        if (soon__process_kill(child[i].pid))
            child[dying++] = child[i];
    for (unsigned i = 0; i < dying; i++)
        soon__process_bury(child[i].pid);
}

/* ---- the loop ---- */

static bool serve(struct brood *brood, const struct soon__request *request, const int *fds,
                  unsigned n)
{
    if (request->kind == SOON__REQUEST_SIGNAL)
        return signal_one(brood, request->berth, request->signal);
    return n == SOON__BORN_FDS ? start(brood, request->berth, fds)
                               : tell_failed(brood, request->berth, -EBADMSG);
}

/* One request, so that a death has not to wait for many births. */
static bool hear_one(struct brood *brood)
{
    struct soon__nursery *nursery = brood->nursery;
    struct soon__request request;
    int fds[SOON__BORN_FDS];
    unsigned n = SOON__BORN_FDS;

    int error = soon__packet_receive(nursery->far_fd, &request, sizeof request, fds, &n, false);
    if (error == -EAGAIN)
        return true;
    if (error == -EMFILE)
        return tell_failed(brood, request.berth, error);
    if (error)
        return false;
    for (unsigned i = 0; i < n; i++)
        hold(nursery, (int)i, fds[i]);
    bool heard = serve(brood, &request, fds, n);
    soon__brood_let_go(nursery);
    return heard;
}

void soon__brood_tend(struct soon__nursery *nursery)
{
    struct brood brood = {.nursery = nursery};

    soon__process_hear();
    while (soon__process_await(nursery->bell, nursery->far_fd, true, nursery->program))
        if (is_alone(nursery) || !bury_the_dead(&brood) || !hear_one(&brood))
            break;
    kill_all(&brood);
}
