/* SPDX-License-Identifier: MIT */
/*
 * What a worker may do that has lost its mind: whatever a process can with a
 * channel, a bell, a socket, and its own life. None of it calls the library, so
 * that all of it can happen while the library is at work (see ambush below).
 */
#include "fuzz.h"

#include "os/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* The one whose turn it is: the last that a tape has named. */
static struct fuzz_worker *mad = &fuzz_workers[0];

void fuzz_mad_begin(void)
{
    mad = &fuzz_workers[0];
}

static bool has_channel(void)
{
    return mad->life != FUZZ_NOBODY;
}

static struct seat *seat(void)
{
    return fuzz_pool ? fuzz_seat_of(mad) : NULL;
}

/* A position near the head of its ring, or any. */
static uint32_t position(void)
{
    uint8_t byte = fuzz_byte();
    const struct seat *at = seat();

    return byte < 128 && at ? at->head + byte % SOON__RING : fuzz_word();
}

static void choose(void)
{
    mad = &fuzz_workers[fuzz_byte() % FUZZ_WORKERS];
}

/* ---- the channel ---- */

static uint8_t *memory(uint32_t at)
{
    return (uint8_t *)mad->channel + at % SOON__CHANNEL_SIZE;
}

/* Up to 15 bytes, at a place in a slot's head, or anywhere. */
static void scribble(void)
{
    uint8_t how = fuzz_byte();
    uint32_t at =
        how & 0x80 ? fuzz_word()
                   : (uint32_t)((uint8_t *)fuzz_slot(mad, position()) - (uint8_t *)mad->channel) +
                         fuzz_byte();

    for (unsigned i = 0; i < (how & 0x0fu); i++)
        *memory(at + i) = fuzz_byte();
}

static void scribble_header(void)
{
    size_t at = offsetof(struct soon__channel, asleep) + fuzz_byte() % 192u;

    *memory((uint32_t)at) = fuzz_byte();
}

/* One byte all over a part of it, which may be all. */
static void flood(void)
{
    static const uint32_t size[] = {64, 512, sizeof(struct soon__channel), SOON__ARGS_AT + 4096};
    uint8_t how = fuzz_byte();

    memset(mad->channel, fuzz_byte(), size[how % 4]);
}

static void set_state(void)
{
    uint32_t p = position();

    atomic_store(&fuzz_slot(mad, p)->state,
                 soon__slot_state(p, (enum soon__phase)(fuzz_byte() & 7)));
}

static void report_progress(void)
{
    struct soon__slot *slot = fuzz_slot(mad, position());
    uint8_t count = fuzz_byte();

    atomic_store(&slot->progress[count % SOON__REPORTS].done, fuzz_number());
    atomic_store(&slot->progress[count % SOON__REPORTS].total, fuzz_number());
    atomic_store(&slot->progress_count, count);
}

/* ---- results ---- */

static void deliver(uint32_t p)
{
    atomic_store(&fuzz_slot(mad, p)->state, soon__slot_state(p, SOON__SLOT_DONE));
    fuzz_ring(mad, SOON__BELL_ENDS);
}

/* A result in the form that one should have, if not as it should be. */
static void deliver_something(void)
{
    uint32_t p = position();
    struct soon__slot *slot = fuzz_slot(mad, p);
    uint8_t how = fuzz_byte();

    atomic_store(&slot->code, how & 1 ? (int32_t)fuzz_number() : 0);
    atomic_store(&slot->origin, how & 2 ? fuzz_byte() : 0);
    atomic_store(&slot->value_where, how & 4 ? fuzz_number() : how >> 6 & 3);
    atomic_store(&slot->value_len, fuzz_number());
    atomic_store(&slot->value_at, fuzz_number());
    atomic_store(&slot->spent, how & 8 ? fuzz_number() : 1000);
    deliver(p);
}

/* A good result in the area, with or without having taken the blocks. */
static void deliver_blocks(void)
{
    uint32_t p = position();
    struct soon__slot *slot = fuzz_slot(mad, p);
    uint8_t how = fuzz_byte();
    uint32_t at = how % SOON__BLOCKS * (uint32_t)SOON__BLOCK,
             len = fuzz_byte() * UINT32_C(4096) + 1;

    if (how & 0x40)
        atomic_fetch_or(&mad->channel->blocks, UINT64_C(1) << how % SOON__BLOCKS);
    atomic_store(&slot->code, how & 0x80 ? 42 : 0);
    atomic_store(&slot->value_where, SOON__IN_AREA);
    atomic_store(&slot->value_len, len);
    atomic_store(&slot->value_at, at);
    atomic_store(&slot->spent, 1000);
    *memory(SOON__VALUES_AT + at) = how;
    deliver(p);
}

/* ---- parcels ---- */

static void seal(int fd, uint8_t seals)
{
    static const int seal[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE};

    for (int i = 0; i < 4; i++)
        if (seals >> i & 1)
            fcntl(fd, F_ADD_SEALS, seal[i]);
}

/* A file with some of the seals, and some of its pages there. */
static int new_file(size_t size, uint8_t how)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t there = how & 0x10 ? size / 2 : size;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return fd;
    if (how & 0x20)
        there = 0;
    if (there && there <= 2 << 20)
        fallocate(fd, 0, 0, (off_t)there);
    seal(fd, how);
    return fd;
}

static int new_descriptor(size_t size)
{
    uint8_t how = fuzz_byte();
    int fds[2];

    if (how < 0xc0)
        return new_file(size, how);
    if (how < 0xd0)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    if (how < 0xe0)
        return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (how < 0xf0)
        return fcntl(mad->bell, F_DUPFD_CLOEXEC, 0);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    close(fds[1]);
    return fds[0];
}

/* For itself: the file may still be cut later on. */
static void keep(int fd)
{
    if (mad->n_kept < FUZZ_FDS)
        mad->kept[mad->n_kept++] = fd;
    else
        close(fd);
}

static void post(const void *data, size_t len, const int *fds, unsigned n)
{
    union {
        struct cmsghdr header;
        unsigned char space[CMSG_SPACE(FUZZ_FDS * sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(n * sizeof *fds)}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (n) {
        memcpy(CMSG_DATA(&control.header), fds, n * sizeof *fds);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n * sizeof *fds);
    }
    sendmsg(mad->parcels, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Of any length, with any number of descriptors. */
static void send_parcel(void)
{
    uint8_t how = fuzz_byte();
    struct soon__parcel parcel[2] = {{.position = position()}};
    size_t len = how & 0x80 ? how % sizeof parcel : sizeof *parcel, size = fuzz_number();
    unsigned n = how & 0x40 ? how % (FUZZ_FDS + 1u) : 1;
    int fds[FUZZ_FDS];

    for (unsigned i = 0; i < n; i++)
        if ((fds[i] = new_descriptor(size)) < 0)
            n = i;
    post(parcel, len, fds, n);
    for (unsigned i = 0; i < n; i++)
        keep(fds[i]);
}

/* The result in a file, as it should be, but for what the tape says of it. */
static void deliver_file(void)
{
    uint32_t p = position();
    struct soon__slot *slot = fuzz_slot(mad, p);
    struct soon__parcel parcel = {.position = p};
    size_t size = fuzz_byte() * (size_t)1024 + 1;
    uint8_t how = fuzz_byte();

    int fd = new_file(size, how & 0x80 ? how : how | 7);
    if (fd < 0)
        return;
    post(&parcel, sizeof parcel, &fd, 1);
    keep(fd);
    atomic_store(&slot->code, 0);
    atomic_store(&slot->value_where, SOON__IN_FILE);
    atomic_store(&slot->value_len, size + (how & 0x40 ? fuzz_byte() : 0));
    deliver(p);
}

static void send_many(void)
{
    struct soon__parcel parcel = {.position = position()};
    unsigned n = fuzz_byte();

    for (unsigned i = 0; i < n; i++, parcel.position++)
        post(&parcel, sizeof parcel, &mad->bell, 1);
}

static void cut_file(void)
{
    if (mad->n_kept)
        (void)!ftruncate(mad->kept[fuzz_byte() % mad->n_kept], fuzz_byte());
}

static void hang_up(void)
{
    shutdown(mad->parcels, SHUT_RDWR);
}

/* ---- its life ---- */

static void ring(void)
{
    uint64_t count = fuzz_byte() & 1 ? UINT64_MAX - 1 : 1;

    (void)!write(mad->bell, &count, sizeof count);
}

static void do_right(void)
{
    unsigned n = fuzz_byte() % 8u + 1;

    while (n-- && fuzz_work(mad))
        ;
}

static void be_born(void)
{
    static const int error[] = {0, 0, 0, -EAGAIN, -ENOMEM, -EMFILE};

    if (mad->life == FUZZ_UNBORN)
        fuzz_bear(mad, error[fuzz_byte() % 6u]);
}

static void die(void)
{
    uint8_t how = fuzz_byte();

    if (mad->life == FUZZ_ALIVE)
        fuzz_end(mad, how & 0x80 ? (struct soon__exit){.signal = how & 0x7f}
                                 : (struct soon__exit){.code = how});
}

static void end_nursery(void)
{
    uint8_t how = fuzz_byte();

    if (how & 0x80)
        fuzz_nursery_ends();
    else if (how & 0x40)
        fuzz_nursery_errors = how & 7;
    else
        fuzz_start_error = how & 1 ? -EAGAIN : -ENOMEM;
}

/* By number, which tapes rely on: new ones go where it is empty. */
static const struct fuzz_operation operations[FUZZ_OPERATIONS] = {
    {"scribble", scribble, FUZZ_CHANNEL},
    {"scribble in the header", scribble_header, FUZZ_CHANNEL},
    {"flood", flood, FUZZ_CHANNEL},
    {"set a state", set_state, FUZZ_CHANNEL},
    {"set a state", set_state, FUZZ_CHANNEL},
    {"report progress", report_progress, FUZZ_CHANNEL},
    {"deliver something", deliver_something, FUZZ_CHANNEL},
    {"deliver something", deliver_something, FUZZ_CHANNEL},
    {"deliver blocks", deliver_blocks, FUZZ_CHANNEL},
    {"deliver a file", deliver_file, FUZZ_CHANNEL},
    {"send a parcel", send_parcel, FUZZ_CHANNEL},
    {"send many parcels", send_many, FUZZ_CHANNEL},
    {"cut a file", cut_file, FUZZ_CHANNEL},
    {"hang up", hang_up, FUZZ_CHANNEL},
    {"ring", ring, FUZZ_CHANNEL},
    {"do what is right", do_right, FUZZ_CHANNEL},
    {"be born", be_born, FUZZ_ANYWHERE},
    {"die", die, FUZZ_ANYWHERE},
    {"the nursery", end_nursery, FUZZ_ANYWHERE},
    {"another worker", choose, FUZZ_ANYWHERE},
    {"set a state", set_state, FUZZ_CHANNEL},
    {"deliver something", deliver_something, FUZZ_CHANNEL},
    {"deliver blocks", deliver_blocks, FUZZ_CHANNEL},
    {"deliver a file", deliver_file, FUZZ_CHANNEL},
    {"do what is right", do_right, FUZZ_CHANNEL},
    {"do what is right", do_right, FUZZ_CHANNEL},
    {"do what is right", do_right, FUZZ_CHANNEL},
    {"be born", be_born, FUZZ_ANYWHERE},
};

const struct fuzz_operation *fuzz_mad_operation(uint8_t number)
{
    const struct fuzz_operation *operation = &operations[number % FUZZ_OPERATIONS];

    return operation->run && (operation->where != FUZZ_CHANNEL || has_channel()) ? operation : NULL;
}
