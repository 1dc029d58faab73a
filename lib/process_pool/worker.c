/* SPDX-License-Identifier: MIT */
/*
 * A worker process: one thread that goes through its slots one after the other.
 * Whatever it runs may kill it at any instruction; channel.h says why that
 * matters to nobody else.
 */
#include "process_pool/worker.h"

#include "os/clock.h"
#include "os/event.h"
#include "os/own_fd.h"
#include "os/process.h"
#include "os/shm.h"
#include "os/spin.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <unistd.h>

struct worker {
    struct soon__post post;
    pid_t parent;             /* with which it dies */
    struct soon__owner owner; /* that it began with */
    bool slept;               /* since the last task ended */
    bool failed;              /* its initializer has */
    soon_ns ended;
    soon_ns gap; /* how long it was without a task the last time */
};

/* ---- finding the next task ---- */

/* The host has decided about this position. */
static bool is_ready(const struct soon__slot *slot, uint32_t position)
{
    /* seq_cst: one of the Dekker pair of `asleep`; acquires the task. */
    uint32_t state = atomic_load(&slot->state);

    return state == soon__slot_state(position, SOON__SLOT_QUEUED) ||
           state == soon__slot_state(position, SOON__SLOT_REVOKED);
}

static bool spin_for(const struct soon__slot *slot, uint32_t position, soon_ns end)
{
    if (!soon__spin_pays())
        return is_ready(slot, position);
    do
        for (int i = 0; i < 16; i++) {
            if (is_ready(slot, position))
                return true;
            soon__pause();
        }
    while (soon__now() < end);
    return false;
}

/* A task that changed its user has cut the tie to the parent, and the new one
 * that is made here may not hold: then the worker looks now and then. */
static soon_ns sleep_until(const struct worker *w)
{
    if (!soon__process_dies_with(w->parent) || atomic_load(&w->post.channel->given_up))
        _exit(EXIT_FAILURE);
    if (!soon__post_is_whole(&w->post)) /* rather now than with a task */
        _exit(SOON__EXIT_LOST);
    const struct soon__owner now = soon__process_owner();
    bool tied = now.real == w->owner.real && now.saved == w->owner.saved;
    return tied ? SOON__NEVER : soon__now() + SOON_MS(250);
}

/* From then until a task came. How long it takes to wake up for it is the machine's,
 * and would make every task that finds the worker asleep look late. */
static soon_ns gap_since(const struct worker *w, soon_ns begin)
{
    /* relaxed: a hint; an older one is before begin, or about then. */
    uint64_t roused = atomic_load_explicit(&w->post.channel->roused, memory_order_relaxed);

    return (soon_ns)roused > begin ? (soon_ns)roused - begin : soon__now() - begin;
}

/* Where tasks have been coming one after the other, with little between them,
 * looking for the next one a while longer costs less than being woken for it. */
static void await(struct worker *w, const struct soon__slot *slot, uint32_t position)
{
    _Atomic uint32_t *asleep = &w->post.channel->asleep;

    if (is_ready(slot, position))
        return;
    const soon_ns longer = SOON__SPIN_LONG * SOON__SPIN_NS;
    soon_ns begin = soon__now();
    soon_ns end = begin + (w->gap < longer ? longer : SOON__SPIN_NS);
    w->slept = true;
    while (!spin_for(slot, position, end)) {
        atomic_store(asleep, 1);
        soon_ns until = sleep_until(w);
        if (!is_ready(slot, position))
            soon__futex_wait_shared(asleep, 1, until);
        /* relaxed: the host, seeing 1 for too long, wakes for nothing. */
        atomic_store_explicit(asleep, 0, memory_order_relaxed);
    }
    w->gap = gap_since(w, begin);
}

/* What is not the bell any more may be a file of the task's. What the worker
 * has done it has done: it ends, which is heard as well. */
static void ring_it(const struct worker *w)
{
    if (!soon__post_is_whole(&w->post))
        _exit(SOON__EXIT_LOST);
    soon__event_set(w->post.bell.fd);
}

static void ring(struct worker *w, enum soon__bell at_least)
{
    _Atomic uint32_t *bell = &w->post.channel->bell;

    /* seq_cst: the other half of the bell's Dekker pair, after the state. */
    if (atomic_load(bell) >= (uint32_t)at_least && atomic_exchange(bell, SOON__BELL_OFF))
        ring_it(w);
}

/* A thread that has just submitted this task and now waits for it takes the
 * bell away and fetches the result itself (assist.c): give it a moment, which
 * costs less than waking another, if there is nothing else to do. */
static void ring_soon(struct worker *w, uint32_t next)
{
    enum { PATIENCE_NS = 1500 };
    const struct soon__slot *slot = soon__slot_of(w->post.channel, next);

    if (atomic_load(&w->post.channel->bell) == SOON__BELL_OFF)
        return;
    if (soon__spin_pays()) {
        soon_ns end = w->ended + PATIENCE_NS;
        do
            soon__pause();
        while (atomic_load(&w->post.channel->bell) && !is_ready(slot, next) && soon__now() < end);
    }
    ring(w, SOON__BELL_ENDS);
}

/* ---- arguments ---- */

struct argument {
    const void *at;
    size_t len;
    void *mapped; /* to be unmapped, or NULL */
};

/* The file for a position. They come in the order in which they were ready,
 * not in that of their tasks: others are kept until it is their turn. */
static int receive_file(struct soon__post *post, uint32_t position)
{
    int *kept = &post->kept[position % SOON__RING];
    struct soon__parcel parcel;

    while (*kept < 0) {
        int fd = -1;
        unsigned n = 1;
        int error = soon__packet_receive(post->parcels.fd, &parcel, sizeof parcel, &fd, &n, true);
        if (error || n != 1)
            return error ? error : -EBADMSG;
        int *place = &post->kept[parcel.position % SOON__RING];
        if (*place >= 0)
            close(*place);
        *place = fd;
    }
    int fd = *kept;
    *kept = -1;
    return fd;
}

static bool comes_with_file(const struct soon__slot *slot)
{
    return slot->arg_where == SOON__IN_FILE || slot->arg_where == SOON__IN_NEW_STORE;
}

/* It comes once. Before its task is taken, so that a worker which has no
 * descriptor to spare for it can end and leave that task to another. */
static void get_store(struct soon__post *post, const struct soon__slot *slot, uint32_t position)
{
    if (slot->arg_where != SOON__IN_NEW_STORE)
        return;
    int fd = receive_file(post, position);
    if (fd < 0)
        _exit(SOON__EXIT_LOST);
    post->store = soon__shm_map(fd, 0, SOON__STORE_SIZE, SOON__SHM_READ);
    close(fd);
}

static int get_argument(struct soon__post *post, struct soon__slot *slot, uint32_t position,
                        struct argument *arg)
{
    *arg = (struct argument){.len = slot->arg_len};
    if (slot->arg_where == SOON__IN_SLOT)
        arg->at = slot->arg;
    if (slot->arg_where == SOON__IN_AREA)
        arg->at = post->args + slot->arg_at;
    if (slot->arg_where == SOON__IN_STORE || slot->arg_where == SOON__IN_NEW_STORE) {
        if (!post->store) /* the task has bounded its own address space */
            return -ENOMEM;
        arg->at = post->store + slot->arg_at;
    }
    if (slot->arg_where != SOON__IN_FILE)
        return 0;
    int fd = receive_file(post, position);
    if (fd < 0)
        return fd;
    arg->at = arg->mapped = soon__shm_map(fd, 0, arg->len, SOON__SHM_READ | SOON__SHM_NOW);
    close(fd);
    return arg->mapped ? 0 : -ENOMEM;
}

/* ---- running it ---- */

static void run(struct worker *w, struct soon__slot *slot, uint32_t position)
{
    struct soon__call_port port;
    struct soon_outcome outcome;
    struct argument arg;

    soon_fn *fn = soon__function_find(&slot->function);
    int error = get_argument(&w->post, slot, position, &arg);
    if (!fn || error) {
        soon__port_fail(slot, fn ? error : -ENOENT,
                        fn ? "the argument could not be received"
                           : "the worker process does not have the function");
        if (arg.mapped)
            soon__shm_unmap(arg.mapped, arg.len);
        return;
    }
    soon__port_init(&port, &w->post, slot);
    soon_port_call(&port.port, fn, slot->manner, arg.len ? arg.at : NULL, arg.len, &outcome);
    if (!*w->post.mark)
        _exit(EXIT_SUCCESS);
    soon__port_deliver(&port, position, &outcome);
    if (arg.mapped)
        soon__shm_unmap(arg.mapped, arg.len);
}

/* How long the worker was at it, for the host to judge how much to hand ahead. */
static void take_time(struct worker *w, struct soon__slot *slot, soon_ns begun)
{
    soon_ns now = soon__now();

    atomic_store_explicit(&slot->spent, (uint64_t)(now - (begun ? begun : w->ended)),
                          memory_order_relaxed); /* DONE publishes it */
    w->ended = now;
    w->slept = false;
}

static void finish(struct worker *w, struct soon__slot *slot, uint32_t position)
{
    if (slot->function.kind && !w->failed)
        run(w, slot, position);
    fflush(stdout);
    fflush(stderr);
    _exit(EXIT_SUCCESS);
}

static void work(struct worker *w, struct soon__slot *slot, uint32_t position)
{
    ring(w, SOON__BELL_BEGINS);
    soon_ns begun = w->slept ? soon__now() : 0;
    if (slot->errand == SOON__ERRAND_FINISH)
        finish(w, slot, position);
    run(w, slot, position);
    /* relaxed: this process has just written it. */
    if (slot->errand == SOON__ERRAND_INITIALIZE)
        w->failed = atomic_load_explicit(&slot->code, memory_order_relaxed) != 0;
    take_time(w, slot, begun);
    atomic_store(&slot->state, soon__slot_state(position, SOON__SLOT_DONE));
    ring_soon(w, position + 1);
}

/* A task that was taken back. */
static void pass(struct worker *w, struct soon__slot *slot, uint32_t position)
{
    int fd = slot->arg_where == SOON__IN_FILE ? receive_file(&w->post, position) : -1;

    if (fd >= 0)
        close(fd);
    /* seq_cst: as DONE. The slot is the host's again. */
    atomic_store(&slot->state, soon__slot_state(position, SOON__SLOT_PASSED));
    if (!is_ready(soon__slot_of(w->post.channel, position + 1), position + 1))
        ring(w, SOON__BELL_ENDS);
}

/* ---- the life ---- */

/* Without its initializer it runs no task. The pool, which is broken by that,
 * takes back what is queued here as soon as it knows. */
static void decline(struct worker *w, const struct soon__slot *slot, uint32_t position)
{
    soon__futex never = 0;

    while (slot->errand == SOON__ERRAND_TASK &&
           atomic_load(&slot->state) == soon__slot_state(position, SOON__SLOT_QUEUED)) {
        if (!soon__process_dies_with(w->parent))
            _exit(EXIT_FAILURE);
        soon__futex_wait(&never, 0, soon__now() + SOON_MS(1));
    }
}

/* Before it takes a task for which it needs them. */
static void look_at_descriptors(const struct worker *w, const struct soon__slot *slot)
{
    /* relaxed: ring() looks again. */
    uint32_t bell = atomic_load_explicit(&w->post.channel->bell, memory_order_relaxed);

    if ((comes_with_file(slot) || bell == SOON__BELL_BEGINS) && !soon__post_is_whole(&w->post))
        _exit(SOON__EXIT_LOST);
}

static bool move_in(struct soon__post *post, const int fds[3])
{
    unsigned char *memory =
        soon__shm_map(fds[SOON__FD_CHANNEL], 0, SOON__CHANNEL_SIZE, SOON__SHM_WRITE);

    close(fds[SOON__FD_CHANNEL]);
    *post = (struct soon__post){
        .channel = (void *)memory,
        .args = memory + SOON__ARGS_AT,
        .values = memory + SOON__VALUES_AT,
        .bell = soon__fd_keep(fds[SOON__FD_BELL]),
        .parcels = soon__fd_keep(fds[SOON__FD_PARCELS]),
    };
    for (int i = 0; i < SOON__RING; i++)
        post->kept[i] = -1;
    soon__own_fd(post->bell.fd); /* not for workers of a pool that a task makes */
    soon__own_fd(post->parcels.fd);
    return memory != NULL;
}

void soon__worker_live(const int fds[3], bool forked)
{
    struct worker w = {
        .parent = getppid(), .owner = soon__process_owner(), .slept = true, .gap = SOON__NEVER};

    if (!move_in(&w.post, fds) || !(w.post.mark = soon__process_mark()))
        _exit(EXIT_FAILURE);
    const struct soon__channel *channel = w.post.channel;
    soon__process_name(channel->name, channel->number);
    soon__spin_prepare();
    if (forked) { /* what the program had not written yet it writes itself */
        __fpurge(stdout);
        __fpurge(stderr);
    }
    if (channel->memory_limit && soon__process_limit_memory(channel->memory_limit) != 0)
        _exit(EXIT_FAILURE);
    for (uint32_t position = 0;; position++) {
        struct soon__slot *slot = soon__slot_of(w.post.channel, position);
        await(&w, slot, position);
        if (w.failed)
            decline(&w, slot, position);
        look_at_descriptors(&w, slot);
        get_store(&w.post, slot, position);
        if (soon__slot_turn(slot, position, SOON__SLOT_TAKEN))
            work(&w, slot, position);
        else
            pass(&w, slot, position);
    }
}
