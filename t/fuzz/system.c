/* SPDX-License-Identifier: MIT */
/*
 * Time, and who runs.
 *
 * The library's threads are real ones, of which one at a time has the turn. It
 * keeps it until it sleeps: in a futex, in epoll, in a join. Then the turn goes
 * back to the program's thread, number 0, which gives it to whom it wants among
 * those that could wake up. Where the program itself sleeps it does that, and
 * lets workers work and time pass, until it could wake up.
 *
 * The linker puts the __wrap_ functions in the place of those of lib/os, and
 * clock.o and spin.o are not linked at all.
 */
#include "fuzz.h"

#include "os/event.h"
#include "os/poll.h"
#include "os/shm.h"
#include "os/spin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

enum {
    THREADS = 24,
    MAPPINGS = 256,
    FDS = 256,     /* that are looked at in the end */
    ROUNDS = 60000 /* a tape has 500 steps, a step 8 tasks, and a task takes about 10 */
};

enum sleep { NOBODY, STARTS, RUNS, INTERRUPTED, SLEEPS, POLLS, JOINS };

struct thread {
    enum sleep sleep; /* NOBODY: a free place, or one that has ended */
    pthread_t id;
    void *(*run)(void *);
    void *arg;
    const soon__futex *word; /* SLEEPS while it is expected */
    uint32_t expected;
    int poll_fd;   /* POLLS this */
    pthread_t end; /* JOINS this */
    soon_ns deadline;
};

struct mapping {
    const unsigned char *at;
    size_t size;
};

bool fuzz_no_threads, fuzz_nobody_helps;

/* All of it is of the thread whose turn it is. */
static struct thread threads[THREADS];
static struct mapping mappings[MAPPINGS];
static soon_ns now;
static unsigned first; /* that is looked at when one is to run */
static bool open_before[FDS];

static soon__futex turn;
static _Thread_local uint32_t self;

int __real_soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline);
int __wrap_soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline);
unsigned __real_soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline);
unsigned __wrap_soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline);
int __real_soon__thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *arg);
int __wrap_soon__thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *arg);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
void *__real_soon__shm_map(int fd, size_t offset, size_t size, unsigned use);
void *__wrap_soon__shm_map(int fd, size_t offset, size_t size, unsigned use);
void __real_soon__shm_unmap(void *memory, size_t size);
void __wrap_soon__shm_unmap(void *memory, size_t size);

/* ---- lib/os/clock.c, lib/os/spin.c ---- */

/* Every look takes a moment, so that who looks until then comes to an end. */
soon_ns soon__now(void)
{
    return now += 100;
}

soon_ns soon__deadline(soon_ns timeout)
{
    return timeout < 0 || timeout >= SOON__NEVER - now ? SOON__NEVER : now + timeout;
}

soon_ns soon__remaining(soon_ns deadline)
{
    if (deadline == SOON__NEVER)
        return SOON_FOREVER;
    return deadline > now ? deadline - now : 0;
}

void soon__spin_prepare(void)
{
}

bool soon__spin_pays(void)
{
    return true;
}

bool soon__spin(soon__spinner *place, const soon__futex *word, uint32_t mask, soon_ns deadline)
{
    (void)place, (void)deadline;
    return atomic_load(word) & mask;
}

void fuzz_pass_time(soon_ns time)
{
    now += time;
}

/* ---- turns ---- */

static void give_turn(uint32_t to)
{
    atomic_store(&turn, to);
    soon__futex_wake(&turn, THREADS);
}

static void await_turn(uint32_t me)
{
    uint32_t whose;

    while ((whose = atomic_load(&turn)) != me)
        __real_soon__futex_wait(&turn, whose, SOON__NEVER);
}

static struct thread *find_thread(pthread_t id)
{
    for (unsigned i = 1; i < THREADS; i++)
        if (threads[i].sleep != NOBODY && pthread_equal(threads[i].id, id))
            return &threads[i];
    return NULL;
}

static bool is_readable(int poll_fd)
{
    struct pollfd fd = {.fd = poll_fd, .events = POLLIN};

    return poll(&fd, 1, 0) > 0;
}

static bool could_wake(const struct thread *thread)
{
    switch (thread->sleep) {
    case NOBODY:
        return false;
    case STARTS:
    case RUNS:
    case INTERRUPTED:
        return true;
    case SLEEPS:
        return atomic_load(thread->word) != thread->expected || now >= thread->deadline;
    case POLLS:
        return is_readable(thread->poll_fd) || now >= thread->deadline;
    case JOINS:
        return !find_thread(thread->end);
    }
    return false;
}

bool fuzz_run_one(void)
{
    for (uint32_t n = 0; n < THREADS - 1; n++) {
        uint32_t i = (first + n) % (THREADS - 1) + 1;
        if (!could_wake(&threads[i]))
            continue;
        fuzz_trace("  thread %u runs", (unsigned)i);
        fuzz_note();
        give_turn(i);
        await_turn(0);
        fuzz_audit();
        return true;
    }
    return false;
}

void fuzz_run_from(unsigned thread)
{
    first = thread;
}

/* In the middle of its work the thread that has the turn loses it. Whoever
 * needs a lock that it holds sleeps until it has gone on. */
void fuzz_change_over(void)
{
    fuzz_trace("  thread %u is interrupted", (unsigned)self);
    threads[self].sleep = INTERRUPTED;
    if (self == 0) {
        fuzz_audit();
        fuzz_run_one();
        fuzz_note();
    } else {
        give_turn(0);
        await_turn(self);
    }
    threads[self].sleep = RUNS;
}

bool fuzz_is_any_interrupted(void)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (threads[i].sleep == INTERRUPTED)
            return true;
    return false;
}

bool fuzz_pass_to_deadline(void)
{
    soon_ns next = SOON__NEVER;

    for (unsigned i = 0; i < THREADS; i++)
        if ((threads[i].sleep == SLEEPS || threads[i].sleep == POLLS) && threads[i].deadline < next)
            next = threads[i].deadline;
    if (next == SOON__NEVER)
        return false;
    if (next > now)
        now = next;
    return true;
}

/* Something happens, or everybody sleeps for ever. */
static void let_happen(bool (*work)(void))
{
    if (fuzz_run_one() || (work && work()))
        return;
    REQUIRE(fuzz_pass_to_deadline() || fuzz_work_one(), "everybody is asleep, for ever");
}

/* The program sleeps, in the middle of a call. */
static void sleep_as_program(void)
{
    fuzz_audit();
    for (int round = 0; !could_wake(&threads[0]); round++) {
        REQUIRE(round < ROUNDS, "the program sleeps, and nothing helps");
        let_happen(fuzz_nobody_helps ? NULL : fuzz_work_one);
    }
    threads[0].sleep = RUNS;
    fuzz_note();
}

static void sleep_now(void)
{
    if (self == 0) {
        sleep_as_program();
        return;
    }
    give_turn(0);
    await_turn(self);
    threads[self].sleep = RUNS;
}

static bool is_anybody_left(void)
{
    for (unsigned i = 1; i < THREADS; i++)
        if (threads[i].sleep != NOBODY)
            return true;
    return false;
}

void fuzz_run_out(void)
{
    for (int round = 0; is_anybody_left(); round++) {
        REQUIRE(round < ROUNDS, "the pool doesn't come to an end");
        let_happen(fuzz_work_one);
    }
}

/* ---- where threads of the library sleep ---- */

int __wrap_soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    struct thread *thread = &threads[self];

    if (atomic_load(word) != expected)
        return 0;
    thread->sleep = SLEEPS;
    thread->word = word;
    thread->expected = expected;
    thread->deadline = deadline;
    sleep_now();
    return atomic_load(word) == expected && now >= deadline ? -ETIMEDOUT : 0;
}

unsigned __wrap_soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline)
{
    struct thread *thread = &threads[self];

    thread->sleep = POLLS;
    thread->poll_fd = poll_fd;
    thread->deadline = deadline;
    sleep_now();
    return __real_soon__poll_wait(poll_fd, tokens, n, 0);
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (find_thread(thread)) {
        threads[self].sleep = JOINS;
        threads[self].end = thread;
        sleep_now();
    }
    return __real_pthread_join(thread, result);
}

static void *live(void *arg)
{
    struct thread *thread = arg;

    self = (uint32_t)(thread - threads);
    await_turn(self);
    thread->sleep = RUNS;
    thread->run(thread->arg);
    thread->sleep = NOBODY;
    give_turn(0);
    return NULL;
}

static int start(pthread_t *thread, size_t stack, void *(*run)(void *), void *arg)
{
    unsigned i = 1;

    while (i < THREADS && threads[i].sleep != NOBODY)
        i++;
    if (i == THREADS)
        return -EAGAIN;
    threads[i] = (struct thread){.sleep = STARTS, .run = run, .arg = arg};
    int error = __real_soon__thread_start(&threads[i].id, stack, live, &threads[i]);
    *thread = threads[i].id;
    if (error)
        threads[i].sleep = NOBODY;
    return error;
}

int __wrap_soon__thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *arg)
{
    return fuzz_no_threads ? -EAGAIN : start(thread, stack, run, arg);
}

bool fuzz_start_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    if (start(&thread, 0, run, arg) != 0)
        return false;
    pthread_detach(thread);
    return true;
}

bool fuzz_is_main(void)
{
    return self == 0;
}

/* ---- what is mapped ---- */

/* A worker's file must not become shorter, nor change; and pages that are not
 * there would be made for the host, which may not have as many. */
static bool is_as_it_stays(int fd, size_t size)
{
    const int frozen = F_SEAL_SHRINK | F_SEAL_WRITE;
    struct stat about;

    return (fcntl(fd, F_GET_SEALS) & frozen) == frozen && fstat(fd, &about) == 0 &&
           (uintmax_t)about.st_size >= size && (uintmax_t)about.st_blocks * 512 >= size;
}

void *__wrap_soon__shm_map(int fd, size_t offset, size_t size, unsigned use)
{
    REQUIRE(!(use & SOON__SHM_NOW) || is_as_it_stays(fd, size), "a result's file stays as it is");
    unsigned char *memory = __real_soon__shm_map(fd, offset, size, use);
    unsigned i = 0;

    while (memory && mappings[i].at)
        REQUIRE(++i < MAPPINGS, "a great deal is mapped");
    if (memory)
        mappings[i] = (struct mapping){.at = memory, .size = size};
    return memory;
}

void __wrap_soon__shm_unmap(void *memory, size_t size)
{
    unsigned i = 0;

    while (mappings[i].at != memory)
        REQUIRE(++i < MAPPINGS, "what is unmapped was not mapped");
    REQUIRE(mappings[i].size == size, "not all of what was mapped is unmapped");
    mappings[i].at = NULL;
    __real_soon__shm_unmap(memory, size);
}

const void *fuzz_mapping_at(const void *address, size_t *size)
{
    for (unsigned i = 0; i < MAPPINGS; i++) {
        if (!mappings[i].at || (uintptr_t)address - (uintptr_t)mappings[i].at >= mappings[i].size)
            continue;
        *size = mappings[i].size;
        return mappings[i].at;
    }
    return NULL;
}

/* ---- begin and end ---- */

/* One CPU: to change over to a thread on another one takes ten times as long. */
static void stay_here(void)
{
    static bool done;
    cpu_set_t here;
    int cpu = sched_getcpu();

    if (done || cpu < 0)
        return;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    sched_setaffinity(0, sizeof here, &here);
    done = true;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

void fuzz_system_begin(void)
{
    stay_here();
    now = SOON_SECONDS(1000);
    first = 0;
    fuzz_no_threads = fuzz_nobody_helps = false;
    threads[0].sleep = RUNS;
    for (int fd = 0; fd < FDS; fd++)
        open_before[fd] = is_open(fd);
}

void fuzz_system_end(void)
{
    for (unsigned i = 0; i < MAPPINGS; i++)
        REQUIRE(!mappings[i].at, "memory is still mapped");
    for (int fd = 0; fd < FDS; fd++)
        REQUIRE(is_open(fd) == open_before[fd], "a descriptor is left open, or was closed twice");
}
