/* SPDX-License-Identifier: MIT */
/*
 * What a worker tells of its results is believed only as far as it has been
 * checked; and a worker can reach only what is its own.
 */
#include "hostile.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lies about a result ---- */

static const soon_process_pool_options two_workers = {
    .max_workers = 2, .max_restarts = 10000, .restart_window = 1};

/* What a slot may be made to say; the worker sleeps after that. */
struct lie {
    uint64_t where, len, at;
    uint32_t phase;
    int32_t shift; /* of the position in the state word */
    int code;
};

static const struct lie lies[] = {
    {.where = SOON__IN_SLOT, .len = SOON__VALUE_SMALL + 1, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_SLOT, .len = UINT64_MAX, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = 0, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = 100000, .at = SOON__VALUES_SIZE, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = 100000, .at = UINT64_MAX, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = 100000, .at = 1, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = UINT64_MAX, .at = SOON__BLOCK, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA,
     .len = SOON__BLOCK + 1,
     .at = SOON__VALUES_SIZE - SOON__BLOCK,
     .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = SOON__SLAB_MAX + 1, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = UINT64_MAX - SOON__BLOCK, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_FILE, .len = 1 << 22, .phase = SOON__SLOT_DONE}, /* there is none */
    {.where = 77, .len = 4, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_SLOT, .len = 129, .code = 5, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = UINT64_MAX, .code = 5, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_AREA, .len = 10, .at = UINT64_MAX, .code = 5, .phase = SOON__SLOT_DONE},
    {.where = SOON__IN_FILE, .len = 10, .code = 5, .phase = SOON__SLOT_DONE},
    {.phase = SOON__SLOT_FREE},
    {.phase = SOON__SLOT_PASSED},
    {.phase = SOON__SLOT_REVOKED},
    {.phase = 6},
    {.phase = 7},
    {.phase = SOON__SLOT_DONE, .shift = 1},
    {.phase = SOON__SLOT_DONE, .shift = -1},
    {.phase = SOON__SLOT_DONE, .shift = SOON__RING},
    {.phase = SOON__SLOT_TAKEN, .shift = SOON__RING},
};
enum { LIES = sizeof lies / sizeof lies[0] };

/* The slot of the task that runs. */
static struct soon__slot *own_slot(struct soon__channel *channel)
{
    for (int i = 0; i < SOON__RING; i++)
        if ((atomic_load(&channel->slot[i].state) & 7) == SOON__SLOT_TAKEN)
            return &channel->slot[i];
    REQUIRE(!"a slot is taken");
    return NULL;
}

static void ring_the_bell(void)
{
    const uint64_t one = 1;

    for (int fd = 3; fd < FDS; fd++)
        if (leads_to(fd, "eventfd") && fcntl(fd, F_GETFD) & FD_CLOEXEC)
            REQUIRE(write(fd, &one, sizeof one) == sizeof one);
}

static int task_lie(soon_call *call, const void *arg, size_t arg_len)
{
    struct soon__slot *slot;
    struct lie lie;
    uint32_t state;
    size_t size;

    REQUIRE(arg_len == sizeof lie);
    memcpy(&lie, arg, sizeof lie);
    slot = own_slot(find_channel(&size));
    state = atomic_load(&slot->state);
    atomic_store(&slot->code, lie.code);
    atomic_store(&slot->value_where, lie.where);
    atomic_store(&slot->value_len, lie.len);
    atomic_store(&slot->value_at, lie.at);
    atomic_store(&slot->state, ((state >> 3) + (uint32_t)lie.shift) << 3 | lie.phase);
    ring_the_bell();
    return task_for_ever(call, NULL, 0);
}

START_TEST(no_lie_is_believed)
{
    soon_executor *ex = pool_up(_i, &two_workers);

    for (int i = 0; i < LIES; i++) {
        soon_future *liar =
            submit_named(ex, task_lie, &lies[i], sizeof lies[i], "liar", SOON_SECONDS(20));
        soon_error error;

        assert_ok(soon_future_error(liar, SOON_FOREVER, &error));
        ck_assert_msg(error.code == -EOWNERDEAD, "lie %d: %d: %s", i, error.code, error.message);
        ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
        soon_future_unref(liar);
        assert_innocents_are_right(ex);
    }
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, LIES);
    pool_down(ex, (INNOCENTS + 1) * LIES);
}
END_TEST

/* ---- files that are not what they should be ---- */

enum file_kind { UNSEALED, SHORT, PIPE, DIRECTORY, HALF_SEALED, FILE_KINDS };

static int make_bad_file(enum file_kind kind)
{
    int fd = -1, fds[2];

    if (kind == PIPE) {
        REQUIRE(pipe(fds) == 0);
        return fds[0];
    }
    if (kind == DIRECTORY)
        fd = open("/", O_RDONLY | O_DIRECTORY);
    else
        fd = memfd_create("bad", MFD_ALLOW_SEALING);
    REQUIRE(fd >= 0);
    if (kind != DIRECTORY)
        REQUIRE(ftruncate(fd, kind == SHORT ? 4096 : 4 << 20) == 0);
    if (kind == SHORT)
        REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    if (kind == HALF_SEALED)
        REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    return fd;
}

static void send_file(int file, uint32_t position)
{
    struct soon__parcel parcel = {.position = position};
    struct iovec io = {&parcel, sizeof parcel};
    char room[CMSG_SPACE(sizeof file)] = "";
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof file);
    memcpy(CMSG_DATA(head), &file, sizeof file);
    for (int fd = 3; fd < FDS; fd++)
        if (leads_to(fd, "socket:"))
            sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int task_send_bad_file(soon_call *call, const void *arg, size_t arg_len)
{
    struct soon__slot *slot;
    enum file_kind kind;
    uint32_t state;
    size_t size;

    REQUIRE(arg_len == sizeof kind);
    memcpy(&kind, arg, sizeof kind);
    slot = own_slot(find_channel(&size));
    state = atomic_load(&slot->state);
    send_file(make_bad_file(kind), state >> 3);
    atomic_store(&slot->code, 0);
    atomic_store(&slot->value_where, SOON__IN_FILE);
    atomic_store(&slot->value_len, 4 << 20);
    atomic_store(&slot->state, (state & ~7u) | SOON__SLOT_DONE);
    ring_the_bell();
    return task_for_ever(call, NULL, 0);
}

START_TEST(no_file_is_mapped_that_could_be_changed)
{
    soon_executor *ex = pool_up(_i, &two_workers);

    for (int kind = 0; kind < FILE_KINDS; kind++) {
        soon_future *f =
            submit_named(ex, task_send_bad_file, &kind, sizeof kind, "forger", SOON_SECONDS(20));
        const void *value;
        size_t len;

        ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, &value, &len), -EOWNERDEAD);
        soon_future_unref(f);
        f = submit_innocent(ex, kind);
        assert_result_int(f, kind * kind);
        soon_future_unref(f);
    }
    pool_down(ex, 2 * FILE_KINDS);
}
END_TEST

/* ---- what is out of reach ---- */

struct reach {
    unsigned channels, channels_of_others, fds;
};

/* Is there another one below fd for the same socket? */
static bool is_second(int fd, const struct stat *about)
{
    struct stat other;

    for (int i = 3; i < fd && S_ISSOCK(about->st_mode); i++)
        if (fstat(i, &other) == 0 && S_ISSOCK(other.st_mode) && other.st_ino == about->st_ino)
            return true;
    return false;
}

/* What it has twice counts once. While a process is forked the program closes
 * what it has sent it, and the fork may come with that as well: with its own. */
static int task_reach(soon_call *call, const void *arg, size_t arg_len)
{
    struct reach reach = {.fds = descriptor_count()};
    unsigned long inode, channel = 0;
    char line[1024], flags[8];
    struct stat about;
    size_t from, to;
    FILE *maps;

    (void)arg;
    (void)arg_len;
    maps = fopen("/proc/self/maps", "re");
    REQUIRE(maps);
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "/memfd:soon") && !strstr(line, "soon-test") &&
            sscanf(line, "%zx-%zx %7s %*s %*s %lu", &from, &to, flags, &inode) == 4 &&
            flags[1] == 'w' && to - from >= SOON__ARGS_AT) {
            reach.channels++;
            channel = inode;
        }
    fclose(maps);
    for (int fd = 3; fd < FDS; fd++) {
        if (fstat(fd, &about) < 0)
            continue;
        bool is_channel = leads_to(fd, "/memfd:soon");
        reach.channels_of_others += is_channel && about.st_ino != channel;
        reach.fds -= (is_channel && about.st_ino == channel) || is_second(fd, &about);
    }
    return soon_return(call, &reach, sizeof reach);
}

/* Descriptors that a worker should have besides its bell and its socket. */
static unsigned descriptors_for_workers(int method)
{
    unsigned count = 0;

    for (int fd = 0; fd < FDS; fd++) {
        int flags = fcntl(fd, F_GETFD);

        count += flags >= 0 && (method != SOON_START_SPAWN || !(flags & FD_CLOEXEC));
    }
    return count;
}

/* Not another worker's channel, nor its socket or bell, nor anything of
 * another pool's. Not while another is born or buried: a fork at that moment
 * could take along a descriptor that is being opened or closed. */
START_TEST(a_worker_reaches_only_what_is_its_own)
{
    const soon_process_pool_options options = {.max_workers = 3, .max_tasks_per_child = 2};
    struct hold hold = hold_make();
    const unsigned before = descriptors_for_workers(_i);
    soon_executor *other =
        pool_up(SOON_START_FORK, &(soon_process_pool_options){.max_workers = 1, .name = "other"});
    soon_executor *ex = pool_up(_i, &options);
    soon_future *f[6];

    assert_ok(soon_submit(other, task_hold, &hold, sizeof hold, NULL));
    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 3);
    pool_await_workers(other, 1);
    for (int i = 0; i < 6; i++) {
        const struct reach *reach;
        const void *value;
        size_t len;

        if (i % 2 == 0) /* the third worker is used up */
            pool_await_workers(ex, 2);
        f[i] = submit(ex, task_reach, NULL, 0);
        assert_ok(soon_future_value(f[i], SOON_FOREVER, &value, &len));
        reach = value;
        ck_assert_uint_eq(reach->channels, 1);
        ck_assert_uint_eq(reach->channels_of_others, 0);
        ck_assert_uint_le(reach->fds, before + 2);
    }
    unref_all(f, 6);
    gate_open(hold.release);
    pool_down(ex, 8);
    pool_down(other, 1);
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_lies");
    TCase *lying = test_case(suite, "lies");
    TCase *reach = test_case(suite, "reach");

    add_over_methods(lying, no_lie_is_believed);
    add_over_methods(lying, no_file_is_mapped_that_could_be_changed);

    add_over_methods(reach, a_worker_reaches_only_what_is_its_own);
    return suite;
}
