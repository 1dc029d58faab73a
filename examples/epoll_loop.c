/* SPDX-License-Identifier: MIT */
/*
 * epoll_loop: a program that lives in epoll and has a pool compute for it.
 *
 *     epoll_loop [-j WORKERS] [--processes] [TASKS]
 *
 * Shows the loop executor. The pool's results arrive as callbacks that run on
 * it, and its descriptor is one more in the program's epoll set, here next to
 * a timer. All of the program's own code runs in the main thread and needs no
 * locks. With nothing to do it sleeps in epoll_wait(); the last line says how
 * often it woke up, and how often for nothing.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <soon.h>

#include "pool.h"

enum { TICKS = 5, TICK_MS = 10 };

struct primes {
    unsigned below, count;
};

/* The main thread's, and nobody else's. */
struct program {
    int epoll, timer;
    soon_executor *pool, *loop;
    pid_t thread;
    unsigned expected, results, ticks, wakeups, for_nothing;
    int err;
};

/* The task: arg and result are a struct primes, without and with its count. */
static int count_primes(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    struct primes primes = *(const struct primes *)arg;
    for (unsigned n = 2; n < primes.below; n++) {
        unsigned divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        primes.count += divisor * divisor > n;
    }
    return soon_return(call, &primes, sizeof primes);
}

/* Called inside of soon_loop_run(): the future is done, its result is there. */
static void on_primes(soon_future *f, void *data)
{
    struct program *program = data;
    struct primes primes;
    program->results++;
    int err = soon_future_result(f, 0, &primes, sizeof primes);
    if (err != 0)
        program->err = err;
    else
        printf("%u primes below %u, seen in the %s thread\n", primes.count, primes.below,
               gettid() == program->thread ? "main" : "wrong");
}

static int submit(struct program *program, unsigned below)
{
    soon_future *f;
    struct primes primes = {.below = below};
    int err = soon_submit(program->pool, count_primes, &primes, sizeof primes, &f);
    if (err != 0)
        return err;
    err = soon_future_add_done_callback_on(f, program->loop, on_primes, program);
    program->expected += err == 0;
    soon_future_unref(f); /* the callback keeps it as long as it takes */
    return err;
}

static int watch(struct program *program, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(program->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* The timer ticks in a program that computes: it is never blocked. */
static int set_up(struct program *program, const struct pool_choice *choice)
{
    const struct itimerspec every = {{0, TICK_MS * 1000000}, {0, TICK_MS * 1000000}};
    program->thread = gettid();
    program->epoll = epoll_create1(EPOLL_CLOEXEC);
    program->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (program->epoll < 0 || timerfd_settime(program->timer, 0, &every, NULL) != 0)
        return -errno;
    int err = pool_open(choice, "epoll_loop", &program->pool);
    if (err == 0)
        err = soon_loop_new(&program->loop);
    if (err == 0)
        err = watch(program, program->timer);
    if (err == 0)
        err = watch(program, soon_loop_fd(program->loop));
    return err;
}

static void dispatch(struct program *program, int fd)
{
    if (fd == program->timer) {
        uint64_t expirations;
        if (read(fd, &expirations, sizeof expirations) == sizeof expirations)
            program->ticks++;
    } else {
        program->for_nothing += soon_loop_run(program->loop, 0, 0) == 0;
    }
}

static int live(struct program *program)
{
    while (program->results < program->expected || program->ticks < TICKS) {
        struct epoll_event events[8];
        int n = epoll_wait(program->epoll, events, 8, -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        program->wakeups++;
        for (int i = 0; i < n; i++)
            dispatch(program, events[i].data.fd);
    }
    return program->err;
}

int main(int argc, char **argv)
{
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct program program = {0};
    struct pool_choice choice = {0};
    if (!pool_options(&choice, argc, argv, POOL_OPTIONS)) {
        fputs("usage: epoll_loop " POOL_USAGE " [TASKS]\n", stderr);
        return 2;
    }
    unsigned tasks = optind < argc ? (unsigned)strtoul(argv[optind], NULL, 10) : 8;
    int err = set_up(&program, &choice);
    for (unsigned i = 1; i <= tasks && err == 0; i++)
        err = submit(&program, i * 10000);
    if (err == 0)
        err = live(&program);
    if (err != 0)
        fprintf(stderr, "epoll_loop: %s\n", strerror(-err));
    else
        printf("%u results, %u ticks, woken %u times, %u for nothing\n", program.results,
               program.ticks, program.wakeups, program.for_nothing);
    soon_shutdown(program.pool, SOON_FOREVER, SOON_CANCEL_FUTURES);
    soon_executor_unref(program.pool);
    soon_executor_unref(program.loop);
    return err != 0;
}
