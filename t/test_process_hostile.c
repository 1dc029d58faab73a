/* SPDX-License-Identifier: MIT */
/*
 * Workers out of their minds: whatever one of them does to what it shares with
 * the program, the program lives, the tasks of other workers are right, and the
 * pool goes on. The task that does it ends, one way or another.
 */
#include "hostile.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- mischief ---- */

enum mischief {
    ZEROS,
    ONES,
    NOISE,       /* random bytes */
    NOISY_STATE, /* the same in the slots alone */
    STORM,       /* again and again, from another thread */
    TRUNCATE,    /* the file behind it */
    PUNCH,
    SEAL,
    FLOOD_BELL,
    FLOOD_SOCKET,
    CLOSE_ALL,
    UNMAP,
    ALL_BLOCKS, /* says that no room is left for results */
    DEAFEN,     /* seems awake for ever */
    MISCHIEFS
};

struct plot {
    enum mischief what;
    bool returns; /* then its worker is given more to do; else it sleeps until it is killed */
    uint64_t seed;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill_with_noise(unsigned char *at, size_t size, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t noise = next_random(&seed);

        memcpy(at + i, &noise, sizeof noise);
    }
}

struct storm {
    unsigned char *at;
    size_t size;
    uint64_t seed;
};

static void *storm_on(void *data)
{
    struct storm *storm = data;

    for (;;)
        fill_with_noise(storm->at, storm->size, next_random(&storm->seed));
    return NULL;
}

static void start_storm(unsigned char *channel, uint64_t seed)
{
    static struct storm storm;
    pthread_t thread;

    storm = (struct storm){channel, SOON__ARGS_AT, seed};
    REQUIRE(pthread_create(&thread, NULL, storm_on, &storm) == 0);
    sleep_ns(SOON_MS(5));
}

static void flood_bell(int fd)
{
    const uint64_t most = UINT64_MAX - 1;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 3; i++)
        if (write(fd, &most, sizeof most) < 0)
            break;
}

/* Messages of every length, the expected one among them, each with a
 * descriptor, until it is full. */
static void flood_socket(int fd, uint64_t seed)
{
    for (int i = 0; i < 5000; i++) {
        unsigned char bytes[64];
        struct iovec io = {bytes, i % 3 ? sizeof(struct soon__parcel) : next_random(&seed) % 64};
        char room[CMSG_SPACE(sizeof fd)] = "";
        struct msghdr message = {
            .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);

        fill_with_noise(bytes, sizeof bytes, next_random(&seed) | 1);
        if (i % 3 == 1)
            memset(bytes, i % 64, 4);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
        if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return;
    }
}

static void abuse_descriptors(const struct plot *plot)
{
    for (int fd = 3; fd < FDS; fd++) {
        if (plot->what == TRUNCATE && leads_to(fd, "/memfd:"))
            if (ftruncate(fd, 0) == 0)
                _exit(99);
        if (plot->what == PUNCH && leads_to(fd, "/memfd:"))
            fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SOON__CHANNEL_SIZE);
        if (plot->what == SEAL && leads_to(fd, "/memfd:"))
            fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
        if (plot->what == FLOOD_BELL && leads_to(fd, "eventfd") && fcntl(fd, F_GETFD) >= 0)
            if (fcntl(fd, F_GETFD) & FD_CLOEXEC) /* the tests' own are not */
                flood_bell(fd);
        if (plot->what == FLOOD_SOCKET && leads_to(fd, "socket:"))
            flood_socket(fd, plot->seed);
        if (plot->what == CLOSE_ALL)
            close(fd);
    }
}

static int task_mischief(soon_call *call, const void *arg, size_t arg_len)
{
    struct soon__channel *channel;
    struct plot plot;
    size_t size;

    REQUIRE(arg_len == sizeof plot);
    memcpy(&plot, arg, sizeof plot);
    channel = find_channel(&size);
    REQUIRE(size == SOON__CHANNEL_SIZE);
    if (plot.what == ZEROS || plot.what == ONES)
        memset(channel, plot.what == ZEROS ? 0 : 0xff, size);
    if (plot.what == NOISE)
        fill_with_noise((unsigned char *)channel, size, plot.seed);
    if (plot.what == NOISY_STATE)
        fill_with_noise((unsigned char *)channel->slot, sizeof channel->slot, plot.seed);
    if (plot.what == STORM)
        start_storm((unsigned char *)channel, plot.seed);
    if (plot.what == UNMAP)
        munmap(channel, size);
    if (plot.what == ALL_BLOCKS)
        atomic_store(&channel->blocks, UINT64_MAX);
    if (plot.what == DEAFEN)
        atomic_store(&channel->asleep, 0);
    abuse_descriptors(&plot);
    return plot.returns ? 0 : task_for_ever(call, NULL, 0);
}

static const soon_process_pool_options two_workers = {
    .max_workers = 2, .max_restarts = 10000, .restart_window = 1, .kill_grace = SOON_MS(50)};

static soon_future *cause(soon_executor *ex, enum mischief what, bool returns, uint64_t seed)
{
    struct plot plot;

    memset(&plot, 0, sizeof plot);
    plot.what = what;
    plot.returns = returns;
    plot.seed = seed;
    return submit_named(ex, task_mischief, &plot, sizeof plot, "wild", SOON_MS(100));
}

/* While one worker is out of its mind the other goes on. Not before that has
 * begun: a worker may change what has been lent of tasks that it ran before. */
static uint64_t cause_mischief(soon_executor *ex, enum mischief what, uint64_t seed)
{
    soon_future *wild = cause(ex, what, false, seed);

    while (soon_future_state(wild) == SOON_PENDING)
        sched_yield();
    assert_innocents_are_right(ex);
    ck_assert_int_ne(soon_future_value(wild, SOON_FOREVER, NULL, NULL), 0);
    soon_future_unref(wild);
    assert_innocents_are_right(ex);
    return 2 * INNOCENTS + 1;
}

/* What such a worker is given later may suffer, but comes to an end, and so
 * does the pool. */
static void let_it_go_on(soon_executor *ex, enum mischief what, uint64_t seed)
{
    soon_future *futures[20];

    futures[0] = cause(ex, what, true, seed);
    for (int i = 1; i < 20; i++)
        futures[i] = submit_innocent(ex, i);
    ck_assert_int_eq(soon_wait(futures, 20, SOON_ALL_COMPLETED, SOON_FOREVER), 20);
    unref_all(futures, 20);
}

static void assert_survives(int method, enum mischief what)
{
    soon_executor *ex = pool_up(method, &two_workers);
    uint64_t n = 0;

    for (uint64_t round = 0; round < 3; round++)
        n += cause_mischief(ex, what, 1 + (uint64_t)what * 1000 + round);
    let_it_go_on(ex, what, n);
    pool_down(ex, n + 20);
}

START_TEST(no_mischief_hurts_others_forkserver)
{
    assert_survives(SOON_START_FORKSERVER, (enum mischief)_i);
}
END_TEST

START_TEST(no_mischief_hurts_others_fork)
{
    assert_survives(SOON_START_FORK, (enum mischief)_i);
}
END_TEST

START_TEST(no_mischief_hurts_others_spawn)
{
    assert_survives(SOON_START_SPAWN, (enum mischief)_i);
}
END_TEST

START_TEST(noise_of_many_kinds)
{
    soon_executor *ex = pool_up(_i, &two_workers);
    uint64_t n = 0;

    for (size_t round = scaled(60); round > 0; round--)
        n += cause_mischief(ex, round % 2 ? NOISE : NOISY_STATE, round * 77 + 5);
    pool_down(ex, n);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_hostile");
    TCase *mischief = test_case(suite, "mischief");

    tcase_add_loop_test(mischief, no_mischief_hurts_others_forkserver, 0, MISCHIEFS);
    tcase_add_loop_test(mischief, no_mischief_hurts_others_fork, 0, MISCHIEFS);
    tcase_add_loop_test(mischief, no_mischief_hurts_others_spawn, 0, MISCHIEFS);
    add_over_methods(mischief, noise_of_many_kinds);
    return suite;
}
