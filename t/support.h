/* SPDX-License-Identifier: MIT */
/*
 * What the tests share: the program around a suite, signals between threads
 * and tasks, helper threads, everyday tasks, and assertions on futures.
 *
 * A test program defines test_suite(); main() is in support.c.
 *
 * Tasks may run in another process, so what a test shares with them lives in
 * the kernel (gates and bells) or in a shared mapping, and travels by value in
 * the task's argument, or through shared_page(). All of it has to be made
 * before the executor is: a worker process inherits it then. A spawned one is
 * another run of the program, which finds in its static variables only what
 * every run of the program puts there.
 *
 * ck_assert() belongs to the test's own thread. Helper threads, tasks and
 * callbacks use REQUIRE().
 */
#ifndef SOON_T_SUPPORT_H
#define SOON_T_SUPPORT_H

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <soon.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* ---- the program ---- */

/* The suite of this program; defined by the program. */
Suite *test_suite(void);

/* A new case in suite, under a watchdog that also works with CK_FORK=no. The
 * limit is scaled by CK_TIMEOUT_MULTIPLIER. A test fails that leaves a process,
 * a descriptor or shared memory behind (leftovers.h). */
TCase *test_case(Suite *suite, const char *name);

/* n divided by SOON_TEST_SCALE, at least 1. Unless it is set, the divisor is
 * 1, or larger under valgrind and the sanitizers. */
size_t scaled(size_t n);

/* In the test's thread: cheap enough for a loop of a million, silent when it
 * holds (ck_assert() reports every passing line to the runner). */
#define EXPECT(condition)                                  \
    do {                                                   \
        if (!(condition))                                  \
            ck_abort_msg("does not hold: %s", #condition); \
    } while (0)

/* In any thread: one sentence on stderr and abort. */
#define REQUIRE(condition) ((condition) ? (void)0 : require_failed(#condition, __FILE__, __LINE__))

_Noreturn void require_failed(const char *condition, const char *file, int line);

/* ---- time ---- */

/* CLOCK_MONOTONIC. */
soon_ns now_ns(void);

/* For tests whose subject is time; nothing else sleeps. */
void sleep_ns(soon_ns duration);

/* ---- signals between threads, or processes ---- */

/* Shut until opened, and open from then on. */
struct gate {
    int fd;
};

struct gate gate_make(void);
void gate_free(struct gate gate);
void gate_open(struct gate gate);
void gate_pass(struct gate gate); /* waits until it is open */
bool gate_pass_within(struct gate gate, soon_ns timeout);

/* Counts rings; whoever awaits them uses them up. */
struct bell {
    int fd;
};

struct bell bell_make(void);
void bell_free(struct bell bell);
void bell_ring(struct bell bell);
void bell_await(struct bell bell, unsigned rings);
bool bell_rings_within(struct bell bell, soon_ns timeout); /* uses up one ring if so */

/* ---- memory shared with worker processes: shared.c ---- */

/* Zeroed memory that worker processes made later share, at the same address. */
void *shared_new(size_t size);
void shared_free(void *memory, size_t size);

/* SHARED_PAGE bytes of it that are always there, so that tasks find them
 * without an argument. Zero when a test begins. */
enum { SHARED_PAGE = 4096 };
void *shared_page(void);

/* For main(): maps what a spawned worker shares, or makes the page. */
void shared_begin(void);
void shared_page_clear(void);

/* ---- helper threads ---- */

struct thread {
    pthread_t id;
    pid_t tid;          /* set before started rings */
    struct bell booted; /* rings once, when tid is set */
    void (*run)(void *data);
    void *data;
};

/* Runs run(data) in a new thread; t must stay where it is until joined. */
void thread_start(struct thread *t, void (*run)(void *data), void *data);
void thread_join(struct thread *t);

/* Returns once the kernel says that t sleeps, usually in the call under test.
 * It may sleep elsewhere, so nothing may be concluded from it: it only makes
 * sure that the sleeping path is the one that is tested nearly always. */
void thread_await_sleep(const struct thread *t);

/* The same of any thread of this process. */
void tid_await_sleep(pid_t tid);

/* Threads of this process, by the kernel's count. */
unsigned thread_count(void);

/* Runs one(data) and other(data) in two threads that start together wherever
 * both get a CPU. */
void race(void (*one)(void *data), void (*other)(void *data), void *data);

/* CPU time of this process so far. */
soon_ns cpu_ns(void);

/* Bytes of its own memory this process has resident (what it shares with workers
 * is of one size, and comes in as it is first touched), and how many of them
 * there are for each byte that is used: more than one where memory has a
 * shadow. */
size_t resident_bytes(void);
unsigned resident_factor(void);

/* True where running memory is watched over (valgrind, address sanitizer), so
 * that freed memory stays resident and misuse ends otherwise than in abort. */
bool memory_is_watched(void);

bool running_on_valgrind(void);

/* False under the thread sanitizer, which cannot follow threads that the forked
 * child of a threaded process starts: then it says that what is skipped. */
bool forked_may_start_threads(const char *what);

bool thread_sanitized(void);

/* misuse(data), run in a child process, aborts with one sentence on stderr. */
void assert_aborts(void (*misuse)(void *data), void *data);

/* ---- everyday tasks ---- */

/* Returns its argument. */
int task_echo(soon_call *call, const void *arg, size_t arg_len);

/* Takes nothing, gives nothing. */
int task_nothing(soon_call *call, const void *arg, size_t arg_len);

/* int -> int. */
int task_square(soon_call *call, const void *arg, size_t arg_len);

/* Fails as told. */
struct failure {
    int code;
    char message[60];
};
int task_fail(soon_call *call, const void *arg, size_t arg_len);

/* Rings started, passes release, returns value. */
struct hold {
    struct bell started;
    struct gate release;
    int value;
};
int task_hold(soon_call *call, const void *arg, size_t arg_len);

struct hold hold_make(void);
void hold_free(struct hold *hold);

/* Rings the bell (its whole argument), then runs until it is asked to stop,
 * and returns -ECANCELED. */
int task_until_cancelled(soon_call *call, const void *arg, size_t arg_len);

/* Adds one to an atomic in memory from shared_new(); the argument is its
 * address. */
typedef _Atomic unsigned shared_count;
int task_count(soon_call *call, const void *arg, size_t arg_len);

/* Appends value to a log in memory from shared_new(). */
struct order_log {
    _Atomic unsigned used;
    int entry[1024];
};
struct order_note {
    struct order_log *log;
    int value;
};
int task_note(soon_call *call, const void *arg, size_t arg_len);
void order_log_add(struct order_log *log, int value);

/* ---- short forms ---- */

/* Submit and promise calls that must succeed, in the test's thread. */
soon_future *submit(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len);
soon_future *submit_int(soon_executor *ex, soon_fn *fn, int value);
soon_future *promise(void);
void unref_all(soon_future **futures, size_t n);

/* A future in each state that can be had without an executor. The error of
 * the failed one is -EIO, "broken". */
enum sample { SAMPLE_PENDING, SAMPLE_RUNNING, SAMPLE_CANCELLED, SAMPLE_RESULT, SAMPLE_FAILED };
enum { SAMPLE_COUNT = SAMPLE_FAILED + 1 };
soon_future *sample_future(enum sample which);

/* ---- assertions, in the test's thread ---- */

#define assert_ok(expression) ck_assert_int_eq((expression), 0)

/* The future ends with this result; waits for it. */
void assert_result_int(soon_future *f, int expected);
void assert_result_bytes(soon_future *f, const void *expected, size_t len);

/* The future ends with this error; waits for it. message NULL: any. */
void assert_error(soon_future *f, int code, enum soon_origin origin, const char *message);

/* A task that the gate holds, and somebody who is about to wait for it. */
struct watch {
    soon_future *f;
    struct gate release;
    bool patient;
};

/* Of a struct watch: opens the gate once somebody sleeps until f is done, and says whether
 * that is with patience (os/patience.h). */
void release_under_sleeper(void *data);

/* submitted = finished + failed + cancelled + timed_out, nothing in flight. */
void assert_stats_add_up(soon_executor *ex, uint64_t submitted);

#endif /* SOON_T_SUPPORT_H */
