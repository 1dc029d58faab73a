/* SPDX-License-Identifier: MIT */
/*
 * Signals between a test and its tasks are eventfds in semaphore mode: they
 * work in threads and in other processes alike, their numbers can travel by
 * value, and the sanitizers know what a read and a write of one order. They are
 * not closed on exec, so that spawned workers have them too.
 */
#include "support.h"

#include "core/future_cache.h"
#include "leftovers.h"

#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#else
#define THREAD_SANITIZED 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED 1
#else
#define ADDRESS_SANITIZED 0
#endif
#define SANITIZED (THREAD_SANITIZED || ADDRESS_SANITIZED)

/* Seconds a test may take, before CK_TIMEOUT_MULTIPLIER. The busiest take one
 * on a free machine. */
#define TEST_SECONDS 60

/* ---- the program ---- */

_Noreturn void require_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

static unsigned env_number(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    char *end;
    unsigned long n;

    if (!text)
        return otherwise;
    n = strtoul(text, &end, 10);
    if (end == text || *end || n == 0 || n > 1000000) {
        fprintf(stderr, "%s=%s is not a number from 1 to 1000000\n", name, text);
        exit(2);
    }
    return (unsigned)n;
}

size_t scaled(size_t n)
{
    unsigned divisor = env_number("SOON_TEST_SCALE", RUNNING_ON_VALGRIND ? 50 : SANITIZED ? 5 : 1);

    return n / divisor ? n / divisor : 1;
}

static void watchdog_barks(int signal_number)
{
    static const char sentence[] = "watchdog: the test hangs\n";
    ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);

    (void)signal_number;
    (void)written;
    abort();
}

/* Check's own limit kills the forked child; without a fork there is none. */
static void watchdog_on(void)
{
    struct sigaction action = {.sa_handler = watchdog_barks};

    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(TEST_SECONDS * env_number("CK_TIMEOUT_MULTIPLIER", 1));
}

static void test_begin(void)
{
    watchdog_on();
    shared_page_clear();
    leftovers_begin();
}

static void test_end(void)
{
    leftovers_end();
    alarm(0);
}

TCase *test_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, TEST_SECONDS + 5);
    tcase_add_checked_fixture(tc, test_begin, test_end);
    suite_add_tcase(suite, tc);
    return tc;
}

int main(int argc, char **argv)
{
    SRunner *runner;
    int failed;

    soon__future_cache_off = RUNNING_ON_VALGRIND; /* so that it sees the use of freed ones */
    /* In a spawned worker the second one does not return. */
    shared_begin();
    REQUIRE(soon_init(argc, argv) == 0);
    leftovers_of_orphans();
    runner = srunner_create(test_suite());

    /* Check forks each test unless CK_FORK=no; CK_VERBOSITY is normal unless
     * set. */
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- time ---- */

soon_ns now_ns(void)
{
    struct timespec now;

    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return SOON_SECONDS(now.tv_sec) + now.tv_nsec;
}

void sleep_ns(soon_ns duration)
{
    struct timespec left = {.tv_sec = duration / SOON_SECONDS(1),
                            .tv_nsec = duration % SOON_SECONDS(1)};

    while (nanosleep(&left, &left) != 0)
        REQUIRE(errno == EINTR);
}

/* ---- signals ---- */

static int tokens_make(void)
{
    int fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK);

    REQUIRE(fd >= 0);
    return fd;
}

static void tokens_put(int fd, uint64_t n)
{
    REQUIRE(write(fd, &n, sizeof n) == sizeof n);
}

/* Takes one token; timeout as in soon_future_wait(). */
static bool tokens_take(int fd, soon_ns timeout)
{
    const soon_ns deadline = timeout < 0 ? 0 : now_ns() + timeout;
    uint64_t one;

    while (read(fd, &one, sizeof one) != sizeof one) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        soon_ns left = timeout < 0 ? SOON_SECONDS(3600) : deadline - now_ns();

        REQUIRE(errno == EAGAIN || errno == EINTR);
        if (left <= 0)
            return false;
        /* Rounded up, so that the last round does not spin. */
        REQUIRE(poll(&poll_fd, 1, (int)(left / SOON_MS(1)) + 1) >= 0 || errno == EINTR);
    }
    return true;
}

static void tokens_free(int fd)
{
    REQUIRE(close(fd) == 0);
}

struct gate gate_make(void)
{
    return (struct gate){tokens_make()};
}

void gate_free(struct gate gate)
{
    tokens_free(gate.fd);
}

void gate_open(struct gate gate)
{
    /* More than can ever pass, and room to open it a second time. */
    tokens_put(gate.fd, UINT64_C(1) << 40);
}

void gate_pass(struct gate gate)
{
    tokens_take(gate.fd, SOON_FOREVER);
}

bool gate_pass_within(struct gate gate, soon_ns timeout)
{
    return tokens_take(gate.fd, timeout);
}

struct bell bell_make(void)
{
    return (struct bell){tokens_make()};
}

void bell_free(struct bell bell)
{
    tokens_free(bell.fd);
}

void bell_ring(struct bell bell)
{
    tokens_put(bell.fd, 1);
}

void bell_await(struct bell bell, unsigned rings)
{
    while (rings-- > 0)
        tokens_take(bell.fd, SOON_FOREVER);
}

bool bell_rings_within(struct bell bell, soon_ns timeout)
{
    return tokens_take(bell.fd, timeout);
}

/* ---- helper threads ---- */

static void *thread_main(void *data)
{
    struct thread *t = data;

    t->tid = (pid_t)syscall(SYS_gettid);
    bell_ring(t->booted);
    t->run(t->data);
    return NULL;
}

void thread_start(struct thread *t, void (*run)(void *data), void *data)
{
    *t = (struct thread){.booted = bell_make(), .run = run, .data = data};
    REQUIRE(pthread_create(&t->id, NULL, thread_main, t) == 0);
    bell_await(t->booted, 1);
}

void thread_join(struct thread *t)
{
    REQUIRE(pthread_join(t->id, NULL) == 0);
    bell_free(t->booted);
}

/* The state letter of /proc/self/task/TID/stat, or 0 if there is no such
 * thread any more. */
static char tid_state(pid_t tid)
{
    char path[64], line[512];
    const char *after_name;
    size_t got;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    got = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[got] = '\0';
    after_name = strrchr(line, ')');
    return after_name && after_name[1] == ' ' ? after_name[2] : 0;
}

void tid_await_sleep(pid_t tid)
{
    char state;

    while ((state = tid_state(tid)) != 0 && state != 'S')
        sched_yield();
}

void thread_await_sleep(const struct thread *t)
{
    tid_await_sleep(t->tid);
}

unsigned thread_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned count = 0;

    REQUIRE(tasks);
    while ((entry = readdir(tasks)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

struct contender {
    _Atomic int *ready;
    void (*run)(void *data);
    void *data;
};

static void *contender_main(void *data)
{
    const struct contender *me = data;

    /* The last to come releases both. On a busy machine the other may be long
     * in coming, and to give way each time would take for ever: then they start
     * apart, which is one of the orders too. */
    atomic_fetch_sub(me->ready, 1);
    for (int spins = 0; atomic_load(me->ready) > 0 && spins < 20000; spins++)
        ;
    me->run(me->data);
    return NULL;
}

void race(void (*one)(void *data), void (*other)(void *data), void *data)
{
    _Atomic int ready = 2;
    struct contender first = {&ready, one, data}, second = {&ready, other, data};
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, contender_main, &first) == 0);
    contender_main(&second);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* ---- this process ---- */

soon_ns cpu_ns(void)
{
    struct timespec used;

    REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return SOON_SECONDS(used.tv_sec) + used.tv_nsec;
}

size_t resident_bytes(void)
{
    unsigned long resident = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    REQUIRE(file);
    REQUIRE(fscanf(file, "%*u %lu %lu", &resident, &shared) == 2);
    fclose(file);
    return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

bool running_on_valgrind(void)
{
    return RUNNING_ON_VALGRIND;
}

unsigned resident_factor(void)
{
    return THREAD_SANITIZED ? 6 : 1;
}

bool forked_may_start_threads(const char *what)
{
    if (THREAD_SANITIZED)
        fprintf(stderr,
                "SKIP: %s: the thread sanitizer cannot follow threads of a threaded process's "
                "forked child\n",
                what);
    return !THREAD_SANITIZED;
}

bool thread_sanitized(void)
{
    return THREAD_SANITIZED;
}

bool memory_is_watched(void)
{
    return ADDRESS_SANITIZED || RUNNING_ON_VALGRIND;
}

static _Noreturn void misuse_in_child(int stderr_fd, void (*misuse)(void *data), void *data)
{
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    if (dup2(stderr_fd, STDERR_FILENO) < 0)
        _exit(1);
    misuse(data);
    _exit(0);
}

void assert_aborts(void (*misuse)(void *data), void *data)
{
    char said[512];
    size_t len = 0;
    ssize_t got;
    int fds[2], status = 0;
    pid_t child;

    REQUIRE(pipe(fds) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        misuse_in_child(fds[1], misuse, data);
    close(fds[1]);
    while (len < sizeof said - 1 && (got = read(fds[0], said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)got;
    said[len] = '\0';
    close(fds[0]);
    REQUIRE(waitpid(child, &status, 0) == child);

    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
                  "did not abort: status %#x, said \"%s\"", (unsigned)status, said);
    ck_assert_msg(len > 1 && strchr(said, '\n') == said + len - 1, "not one sentence: \"%s\"",
                  said);
}
