/* SPDX-License-Identifier: MIT */
/*
 * One call in a worker process: where its result is written, and how what
 * became of it gets into its slot.
 *
 * A result is written where it will be read: into the slot, into blocks of the
 * result area, or into a file of its own. Only a map's chunk is copied there at
 * its end.
 */
#include "process_pool/worker.h"

#include "os/shm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- blocks of the result area ---- */

static size_t blocks_for(size_t len)
{
    return (len + SOON__BLOCK - 1) / SOON__BLOCK;
}

static uint64_t run_of(size_t first, size_t n)
{
    return (n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX) << first;
}

/* The lowest free run, so that the same warm pages serve again. Only this
 * worker takes blocks; meanwhile the host may give some back. */
static unsigned char *take_blocks(struct soon__post *post, size_t len)
{
    size_t n = blocks_for(len);
    uint64_t used = atomic_load(&post->channel->blocks);

    if (len > SOON__SLAB_MAX)
        return NULL;
    for (size_t first = 0; first + n <= SOON__BLOCKS; first++)
        if (!(used & run_of(first, n))) {
            atomic_fetch_or(&post->channel->blocks, run_of(first, n));
            return post->values + first * SOON__BLOCK;
        }
    return NULL;
}

static void give_blocks(struct soon__post *post, const unsigned char *at, size_t len)
{
    size_t first = (size_t)(at - post->values) / SOON__BLOCK;

    atomic_fetch_and(&post->channel->blocks, ~run_of(first, blocks_for(len)));
}

/* ---- the port ---- */

static struct soon__call_port *port_of(struct soon_port *port)
{
    return (struct soon__call_port *)port;
}

static bool open_file(struct soon__room *room, size_t len)
{
    int fd = soon__shm_new_open("soon-value", len);

    if (fd < 0)
        return false;
    room->at = soon__shm_map(fd, 0, len, SOON__SHM_WRITE);
    if (!room->at)
        close(fd);
    room->fd = fd;
    return room->at != NULL;
}

static void *buffer(struct soon_port *p, size_t len)
{
    struct soon__call_port *port = port_of(p);
    struct soon__room *room = &port->room[port->room[0].at != NULL];

    if (room->at)
        return NULL;
    room->len = len;
    room->fd = -1;
    room->at = take_blocks(port->post, len ? len : 1);
    if (!room->at && !open_file(room, len ? len : 1))
        room->at = NULL;
    return room->at;
}

static void leave_room(struct soon__call_port *port, struct soon__room *room)
{
    if (room->at && room->fd < 0)
        give_blocks(port->post, room->at, room->len ? room->len : 1);
    if (room->at && room->fd >= 0) {
        soon__shm_unmap(room->at, room->len);
        close(room->fd);
    }
    room->at = NULL;
}

static struct soon__room *room_at(struct soon__call_port *port, const void *at)
{
    return port->room[0].at == at ? &port->room[0] : &port->room[1];
}

static void unbuffer(struct soon_port *p, void *at)
{
    leave_room(port_of(p), room_at(port_of(p), at));
}

static bool cancelled(struct soon_port *p)
{
    const struct soon__call_port *port = port_of(p);

    /* A copy of the worker is to stop too. relaxed: a flag without data. */
    return !*port->post->mark || atomic_load_explicit(&port->slot->asked, memory_order_relaxed);
}

/* Into the place of the oldest; then the count makes it the newest. A reader
 * finds one of them whole, whenever this process is killed. */
static void progress(struct soon_port *p, uint64_t done, uint64_t total)
{
    struct soon__call_port *port = port_of(p);
    struct soon__slot *slot = port->slot;

    soon__lock_acquire(&port->reporting);
    /* relaxed: only this process writes it, under the lock. */
    uint32_t count = atomic_load_explicit(&slot->progress_count, memory_order_relaxed) + 1;
    if (count == 0) /* would say none */
        count = SOON__REPORTS;
    struct soon__progress *place = &slot->progress[count % SOON__REPORTS];
    /* release, both: not before the count that was there; a reader that sees
     * them sees that too. Pair with the acquires in read_progress(). */
    atomic_store_explicit(&place->done, done, memory_order_release);
    atomic_store_explicit(&place->total, total, memory_order_release);
    atomic_store(&slot->progress_count, count);
    soon__lock_release(&port->reporting);
}

void soon__port_init(struct soon__call_port *port, struct soon__post *post, struct soon__slot *slot)
{
    *port = (struct soon__call_port){
        .port = {.room = slot->value,
                 .room_size = sizeof slot->value,
                 .buffer = buffer,
                 .unbuffer = unbuffer,
                 .cancelled = cancelled,
                 .progress = progress},
        .post = post,
        .slot = slot,
    };
}

/* ---- what became of it ---- */

/* relaxed, all: DONE publishes them. */
static void put(struct soon__slot *slot, int code, enum soon__where where, uint64_t at,
                uint64_t len)
{
    atomic_store_explicit(&slot->code, code, memory_order_relaxed);
    atomic_store_explicit(&slot->origin, SOON_FROM_TASK, memory_order_relaxed);
    atomic_store_explicit(&slot->value_where, where, memory_order_relaxed);
    atomic_store_explicit(&slot->value_at, at, memory_order_relaxed);
    atomic_store_explicit(&slot->value_len, len, memory_order_relaxed);
}

void soon__port_fail(struct soon__slot *slot, int code, const char *message)
{
    size_t len = strnlen(message, sizeof slot->value);

    memcpy(slot->value, message, len);
    put(slot, code, SOON__IN_SLOT, 0, len);
    atomic_store_explicit(&slot->origin, SOON_FROM_LIBRARY, memory_order_relaxed);
}

/* The task has forked, and a child that it left has the file mapped: it could
 * be sealed only when that is gone. So a copy is. */
static int copy_file(int fd, size_t len)
{
    void *memory = soon__shm_map(fd, 0, len, SOON__SHM_READ);
    int copy = memory ? soon__shm_filled("soon-value", memory, len) : -ENOMEM;

    if (memory)
        soon__shm_unmap(memory, len);
    close(fd);
    return copy;
}

/* A file goes out sealed, so that not even this process changes it later. */
static int send_file(struct soon__post *post, int *fd, uint32_t position, size_t len)
{
    struct soon__parcel parcel = {.position = position};

    if (!soon__post_is_whole(post))
        return -EBADF;
    int error = soon__shm_seal(*fd);
    if (error == -EBUSY) {
        *fd = copy_file(*fd, len);
        error = *fd < 0 ? *fd : 0;
    }
    return error ? error : soon__packet_send(post->parcels.fd, &parcel, sizeof parcel, fd, 1, true);
}

static void post_file(struct soon__call_port *port, struct soon__room *room, uint32_t position,
                      size_t len)
{
    int fd = room->fd;

    soon__shm_unmap(room->at, room->len);
    room->at = NULL;
    int error = send_file(port->post, &fd, position, len);
    if (fd >= 0)
        close(fd);
    if (error)
        soon__port_fail(port->slot, error,
                        error == -EBADF ? "the result could not be sent: a task has closed the "
                                          "descriptors of its worker"
                                        : "the result could not be sent");
    else
        put(port->slot, 0, SOON__IN_FILE, 0, len);
}

static void deliver_value(struct soon__call_port *port, uint32_t position, const void *value,
                          size_t len)
{
    if (len == 0 || value == port->slot->value) {
        put(port->slot, 0, SOON__IN_SLOT, 0, len);
        return;
    }
    struct soon__room *room = room_at(port, value);
    if (room->fd >= 0) {
        post_file(port, room, position, len);
        return;
    }
    put(port->slot, 0, SOON__IN_AREA, (uint64_t)(room->at - port->post->values), len);
    room->at = NULL; /* the host's now */
}

static void deliver_error(struct soon__call_port *port, int code, const char *message)
{
    struct soon__slot *slot = port->slot;
    size_t len = strlen(message);
    unsigned char *at = len > sizeof slot->value ? take_blocks(port->post, len) : NULL;

    if (!at) { /* cut, rather than lost */
        len = strnlen(message, sizeof slot->value);
        memcpy(slot->value, message, len);
        put(slot, code, SOON__IN_SLOT, 0, len);
        return;
    }
    memcpy(at, message, len);
    put(slot, code, SOON__IN_AREA, (uint64_t)(at - port->post->values), len);
}

void soon__port_deliver(struct soon__call_port *port, uint32_t position,
                        const struct soon_outcome *outcome)
{
    if (outcome->code == 0)
        deliver_value(port, position, outcome->value, outcome->value_len);
    else
        deliver_error(port, outcome->code, outcome->message);
    leave_room(port, &port->room[0]);
    leave_room(port, &port->room[1]);
}
