/* SPDX-License-Identifier: MIT */
#include "puppet.h"

#include "os/packet.h"
#include "os/shm.h"
#include "process_pool/brood.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_STRINGS, FD_EVENT, FD_WORD };

enum order_kind { ORDER_LOOK, ORDER_FORK, ORDER_EXIT, ORDER_RAISE };

struct order {
    enum order_kind kind;
    int value;
    ino_t sockets[2]; /* that a worker should not have */
};

int puppet_memory;

/* ---- in the worker ---- */

static bool is_open(ino_t inode)
{
    struct stat about;

    for (int fd = 0; fd < 1000; fd++)
        if (fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) && about.st_ino == inode)
            return true;
    return false;
}

static bool has_handler(int signal_number, void (*handler)(int))
{
    struct sigaction action;

    REQUIRE(sigaction(signal_number, NULL, &action) == 0);
    return action.sa_handler == handler;
}

static bool mask_is_empty(void)
{
    sigset_t mask;

    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    for (int signal_number = 1; signal_number < 32; signal_number++)
        if (sigismember(&mask, signal_number))
            return false;
    return true;
}

/* Of this process's command line, as much as there is room for. */
static void last_argument(char *to, size_t size)
{
    char line[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, line, sizeof line - 1);

    REQUIRE(len > 0);
    line[len] = '\0';
    const char *last = line;
    for (const char *at = line; at < line + len; at += strlen(at) + 1)
        last = at;
    size_t kept = strnlen(last, size - 1);
    memcpy(to, last, kept);
    to[kept] = '\0';
    close(fd);
}

static void look_around(const int *fds, const struct order *order)
{
    const char *env = getenv("SOON_TEST_WORD");
    struct look look = {
        .pid = getpid(),
        .parent = getppid(),
        .group = getpgrp(),
        .mask_is_empty = mask_is_empty(),
        .sigint_ignored = has_handler(SIGINT, SIG_IGN),
        .sigusr1_default = has_handler(SIGUSR1, SIG_DFL),
        .has_sockets = is_open(order->sockets[0]) || is_open(order->sockets[1]),
        .event_works = eventfd_write(fds[FD_EVENT], 1) == 0,
        .memory = puppet_memory,
        .has_variable = getenv("SOON_SPAWNED") != NULL,
    };

    REQUIRE(prctl(PR_GET_PDEATHSIG, &look.death_signal) == 0);
    REQUIRE(pread(fds[FD_WORD], look.word, sizeof look.word - 1, 0) >= 0);
    snprintf(look.env, sizeof look.env, "%s", env ? env : "");
    last_argument(look.argument, sizeof look.argument);
    REQUIRE(soon__packet_send(fds[FD_STRINGS], &look, sizeof look, NULL, 0, true) == 0);
}

static void fork_one(const int *fds)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    REQUIRE(soon__packet_send(fds[FD_STRINGS], &pid, sizeof pid, NULL, 0, true) == 0);
}

static void die_of(int signal_number)
{
    signal(signal_number, SIG_DFL); /* a sanitizer may have installed a handler */
    raise(signal_number);
}

static void live(void *arg, const int fds[SOON__BORN_FDS])
{
    static const struct rlimit no_core;
    struct order order;
    unsigned n = 0;

    (void)arg;
    setrlimit(RLIMIT_CORE, &no_core);

    while (soon__packet_receive(fds[FD_STRINGS], &order, sizeof order, NULL, &n, true) == 0)
        switch (order.kind) {
        case ORDER_LOOK:
            look_around(fds, &order);
            break;
        case ORDER_FORK:
            fork_one(fds);
            break;
        case ORDER_EXIT:
            _exit(order.value);
        case ORDER_RAISE:
            die_of(order.value);
        }
    _exit(99);
}

/* This very program is what is spawned; main() is not for a worker. */
__attribute__((constructor)) static void be_spawned(void)
{
    int fds[SOON__BORN_FDS];

    if (soon__nursery_born_here(fds))
        live(NULL, fds);
    if (getenv("SOON_TEST_ALONE"))
        _exit(getenv("SOON_SPAWNED") ? 1 : 33);
}

/* ---- the stage ---- */

static void ring_gone(void *arg)
{
    const struct stage *stage = arg;

    bell_ring(stage->gone);
}

int stage_try_open(struct stage *stage, int method)
{
    *stage = (struct stage){
        .nursery = {.method = method, .born = live, .gone = ring_gone, .arg = stage},
        .gone = bell_make(),
    };
    int error = soon__nursery_open(&stage->nursery);
    if (error)
        bell_free(stage->gone);
    return error;
}

void stage_open(struct stage *stage, int method)
{
    assert_ok(stage_try_open(stage, method));
}

void stage_close(struct stage *stage)
{
    soon__nursery_close(&stage->nursery);
    ck_assert(bell_rings_within(stage->gone, 0));  /* once, */
    ck_assert(!bell_rings_within(stage->gone, 0)); /* and only once */
    bell_free(stage->gone);
}

void stage_await_gone(struct stage *stage)
{
    ck_assert(bell_rings_within(stage->gone, SOON_SECONDS(20)));
    bell_ring(stage->gone); /* for stage_close() */
}

pid_t stage_nursery_pid(const struct puppet *puppet)
{
    char path[64], state;
    int parent;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)puppet->pid);
    FILE *file = fopen(path, "re");
    REQUIRE(file);
    REQUIRE(fscanf(file, "%*d (%*[^)]) %c %d", &state, &parent) == 2);
    fclose(file);
    return parent;
}

/* ---- reports ---- */

int await_report(struct stage *stage, struct soon__report *report)
{
    struct pollfd poll_fd = {.fd = stage->nursery.fd, .events = POLLIN};
    int error;

    while ((error = soon__nursery_read(&stage->nursery, report)) == -EAGAIN)
        REQUIRE(poll(&poll_fd, 1, -1) == 1);
    return error;
}

struct soon__report next_report(struct stage *stage)
{
    struct soon__report report;

    assert_ok(await_report(stage, &report));
    return report;
}

void stage_round_trip(struct stage *stage)
{
    const struct soon__request request = {.kind = SOON__REQUEST_START, .berth = {7, 8}};

    assert_ok(soon__packet_send(stage->nursery.fd, &request, sizeof request, NULL, 0, false));
    struct soon__report report = next_report(stage);
    ck_assert_int_eq(report.kind, SOON__REPORT_FAILED);
    ck_assert_int_eq(report.error, -EBADMSG);
    ck_assert_uint_eq(report.berth.seat, 7);
    ck_assert_uint_eq(report.berth.generation, 8);
}

void assert_died(struct stage *stage, const struct puppet *puppet, int signal_number, int code)
{
    struct soon__report report = next_report(stage);

    ck_assert_int_eq(report.kind, SOON__REPORT_DIED);
    ck_assert_uint_eq(report.berth.seat, puppet->berth.seat);
    ck_assert_uint_eq(report.berth.generation, puppet->berth.generation);
    ck_assert_int_eq(report.pid, puppet->pid);
    ck_assert_int_eq(report.how.signal, signal_number);
    ck_assert_int_eq(report.how.code, code);
}

void assert_ends(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(poll(&poll_fd, 1, 20000), 1);
}

/* ---- puppets ---- */

int puppet_ask(struct stage *stage, struct puppet *puppet, unsigned seat)
{
    int strings[2], event = eventfd(0, EFD_CLOEXEC), word = soon__shm_new_open("word", 16);

    *puppet = (struct puppet){.berth = {.seat = seat, .generation = 4711 + seat}, .pidfd = -1};
    REQUIRE(event >= 0 && word >= 0 && pwrite(word, "word", 4, 0) == 4);
    REQUIRE(soon__packet_pair(strings) == 0);
    puppet->strings = strings[0];
    const int fds[] = {strings[1], event, word};
    int error = soon__nursery_start(&stage->nursery, puppet->berth, fds);
    for (int i = 0; i < SOON__BORN_FDS; i++)
        close(fds[i]);
    return error;
}

void puppet_await(struct stage *stage, struct puppet *puppet)
{
    struct soon__report report = next_report(stage);

    ck_assert_int_eq(report.kind, SOON__REPORT_BORN);
    ck_assert_uint_eq(report.berth.seat, puppet->berth.seat);
    ck_assert_uint_eq(report.berth.generation, puppet->berth.generation);
    ck_assert_int_gt(report.pid, 0);
    ck_assert_int_eq(fcntl(report.pidfd, F_GETFD), FD_CLOEXEC);
    puppet->pid = report.pid;
    puppet->pidfd = report.pidfd;
}

struct puppet puppet_new(struct stage *stage, unsigned seat)
{
    struct puppet puppet;

    assert_ok(puppet_ask(stage, &puppet, seat));
    puppet_await(stage, &puppet);
    puppet_look(stage, &puppet); /* it lives */
    return puppet;
}

void puppet_drop(struct puppet *puppet)
{
    close(puppet->strings);
    if (puppet->pidfd >= 0)
        close(puppet->pidfd);
}

static void tell(const struct puppet *puppet, const struct order *order)
{
    assert_ok(soon__packet_send(puppet->strings, order, sizeof *order, NULL, 0, true));
}

static void hear(const struct puppet *puppet, void *answer, size_t len)
{
    struct pollfd poll_fd[] = {{.fd = puppet->strings, .events = POLLIN},
                               {.fd = puppet->pidfd, .events = POLLIN}};
    unsigned n = 0;

    REQUIRE(poll(poll_fd, 2, -1) > 0);
    assert_ok(soon__packet_receive(puppet->strings, answer, len, NULL, &n, false));
}

struct look puppet_look(struct stage *stage, const struct puppet *puppet)
{
    struct order order = {.kind = ORDER_LOOK};
    struct stat about;
    struct look look;

    REQUIRE(fstat(stage->nursery.fd, &about) == 0);
    order.sockets[0] = about.st_ino;
    REQUIRE(fstat(stage->nursery.far_fd, &about) == 0);
    order.sockets[1] = about.st_ino;
    tell(puppet, &order);
    hear(puppet, &look, sizeof look);
    return look;
}

pid_t puppet_fork(const struct puppet *puppet)
{
    pid_t pid;

    tell(puppet, &(struct order){.kind = ORDER_FORK});
    hear(puppet, &pid, sizeof pid);
    ck_assert_int_gt(pid, 0);
    return pid;
}

void puppet_exit(const struct puppet *puppet, int code)
{
    tell(puppet, &(struct order){.kind = ORDER_EXIT, .value = code});
}

void puppet_raise(const struct puppet *puppet, int signal_number)
{
    tell(puppet, &(struct order){.kind = ORDER_RAISE, .value = signal_number});
}
