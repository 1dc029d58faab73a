/* SPDX-License-Identifier: MIT */
/*
 * Barriers that one thread has in all others, lib/os/barrier.c, and what relies on
 * them: workers that fork a lot do so without any of their own (core/deque.h), and who
 * falls asleep meanwhile must not overlook it.
 */
#include "support.h"

#include "core/deque.h"
#include "core/thread.h"
#include "os/barrier.h"
#include "os/spin.h"
#include "thread_pool/pool.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the barrier itself ---- */

enum { ROUNDS = 100000 };

/* Each stores its own word and then loads the other's. */
static struct {
    _Alignas(64) _Atomic unsigned round;
    _Alignas(64) _Atomic unsigned mine, done;
    _Alignas(64) _Atomic unsigned others;
    unsigned rounds, seen; /* Sync: done */
} both;

static void take_time(unsigned n)
{
    while (n--)
        atomic_signal_fence(memory_order_seq_cst);
}

static void await(_Atomic unsigned *word, unsigned value)
{
    while (atomic_load_explicit(word, memory_order_acquire) != value)
        sched_yield();
}

static void store_and_load(void *data)
{
    (void)data;
    for (unsigned i = 1; i <= both.rounds; i++) {
        await(&both.round, i);
        take_time(i % 64); /* now a bit sooner, now later */
        atomic_store_explicit(&both.mine, i, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        both.seen = atomic_load_explicit(&both.others, memory_order_relaxed);
        atomic_store_explicit(&both.done, i, memory_order_release);
    }
}

START_TEST(one_of_two_sees_the_other)
{
    struct thread thread;

    if (!soon__has_barrier_everywhere()) {
        fprintf(stderr, "SKIP: this kernel has no barriers for others\n");
        return;
    }
    both.rounds = (unsigned)scaled(ROUNDS);
    thread_start(&thread, store_and_load, NULL);
    for (unsigned i = 1; i <= both.rounds; i++) {
        atomic_store_explicit(&both.round, i, memory_order_release);
        take_time(i / 64 % 1024);
        atomic_store_explicit(&both.others, i, memory_order_relaxed);
        soon__barrier_everywhere();
        unsigned seen = atomic_load_explicit(&both.mine, memory_order_relaxed);
        await(&both.done, i);
        ck_assert_msg(seen == i || both.seen == i, "in round %u nobody saw the other", i);
    }
    thread_join(&thread);
}
END_TEST

/* ---- workers that fork a lot ---- */

enum { FORKS = 2000, SCENES = 5000 };

static struct {
    soon_executor *ex;
    unsigned scenes;
    _Atomic unsigned runs;  /* of task_runs() */
    _Atomic unsigned swift; /* scenes in which a swift worker has forked it */
} the;

static int task_runs(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    atomic_fetch_add(&the.runs, 1);
    return 0;
}

/* Until it is swift, unless that can't be had, or others are at it. */
static void fork_a_lot(void)
{
    soon_future *f;

    for (unsigned i = 0; i < FORKS && !soon__self.deque->swift; i++) {
        REQUIRE(soon_submit(the.ex, task_nothing, NULL, 0, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, NULL, 0) == 0);
        soon_future_unref(f);
    }
}

/* Forks one task again and again that another worker has to run. */
static int task_leaves_it_to_another(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    for (unsigned i = 0; i < the.scenes; i++) {
        unsigned runs = atomic_load(&the.runs);
        fork_a_lot();
        take_time(i * 7919 % 20000); /* the other falls asleep meanwhile */
        atomic_fetch_add(&the.swift, soon__self.deque->swift);
        REQUIRE(soon_submit(the.ex, task_runs, NULL, 0, NULL) == 0);
        while (atomic_load(&the.runs) == runs)
            sched_yield();
    }
    return 0;
}

static void play(unsigned scenes)
{
    soon_future *f;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, &the.ex));
    the.scenes = scenes;
    f = submit(the.ex, task_leaves_it_to_another, NULL, 0);
    assert_ok(soon_future_result(f, SOON_FOREVER, NULL, 0));
    soon_future_unref(f);
    assert_ok(soon_shutdown(the.ex, SOON_FOREVER, 0));
    soon_executor_unref(the.ex);
}

START_TEST(what_a_swift_worker_forks_is_found)
{
    play((unsigned)scaled(SCENES));
    if (soon__has_barrier_everywhere())
        ck_assert_uint_gt(atomic_load(&the.swift), 0);
    else
        fprintf(stderr, "SKIP: no worker is swift: this kernel has no barriers for others\n");
}
END_TEST

static atomic_uint n_swift; /* as the pool has it while its worker is swift */

static int task_looks(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(!soon__self.deque->swift && soon__self.deque->limit == 0); /* nor pushes as if */
    fork_a_lot();
    atomic_store(&n_swift, atomic_load(soon__self.deque->n_swift));
    return 0;
}

START_TEST(a_worker_is_swift_only_while_it_forks)
{
    soon_future *f;
    const bool can = soon__has_barrier_everywhere();

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &the.ex));
    for (int i = 0; i < 2; i++) {
        f = submit(the.ex, task_looks, NULL, 0);
        assert_ok(soon_future_result(f, SOON_FOREVER, NULL, 0));
        soon_future_unref(f);
        ck_assert_uint_eq(atomic_load(&n_swift), can);
        while (atomic_load(&((struct pool *)the.ex)->n_swift)) /* until it has nothing to do */
            sched_yield();
    }
    assert_ok(soon_shutdown(the.ex, SOON_FOREVER, 0));
    soon_executor_unref(the.ex);
}
END_TEST

/* ---- a deque that is full ---- */

enum { SOME = 100, ALL = SOON__DEQUE_SIZE + SOME };

static unsigned order[ALL + SOME]; /* of what has begun: the only worker's */
static unsigned n_begun;

static int task_notes(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    order[n_begun++] = *(const unsigned *)arg;
    return 0;
}

static soon_future *fork_note(unsigned i)
{
    soon_future *f;

    REQUIRE(soon_submit(the.ex, task_notes, &i, sizeof i, &f) == 0);
    return f;
}

/* Joins the youngest that went into the deque, and goes on forking. */
static int task_overflows(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future **f = *(soon_future * *const *)arg;

    (void)call, (void)arg_len;
    fork_a_lot();
    for (unsigned i = 0; i < ALL; i++)
        f[i] = fork_note(i);
    for (unsigned i = SOON__DEQUE_SIZE; i-- > SOON__DEQUE_SIZE - SOME;)
        REQUIRE(soon_future_result(f[i], SOON_FOREVER, NULL, 0) == 0);
    for (unsigned i = ALL; i < ALL + SOME; i++)
        f[i] = fork_note(i);
    return 0;
}

START_TEST(what_is_forked_while_the_deque_was_full_begins_in_order)
{
    soon_future *f[ALL + SOME], **all = f;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &the.ex));
    soon_future *task = submit(the.ex, task_overflows, &all, sizeof all);
    assert_ok(soon_future_result(task, SOON_FOREVER, NULL, 0));
    soon_future_unref(task);
    assert_ok(soon_shutdown(the.ex, SOON_FOREVER, 0));
    soon_executor_unref(the.ex);
    for (unsigned i = 0; i < ALL + SOME; i++)
        soon_future_unref(f[i]);
    ck_assert_uint_eq(n_begun, ALL + SOME);
    for (unsigned i = 0; i < SOME; i++)
        ck_assert_uint_eq(order[i], SOON__DEQUE_SIZE - 1 - i);
    for (unsigned i = SOME + 1; i < n_begun; i++)
        ck_assert_uint_gt(order[i], order[i - 1]);
}
END_TEST

/* ---- where the barrier can't be had any more ---- */

static void refuse_barriers(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fprintf(stderr, "SKIP: no sandbox can be had: %s\n", strerror(errno));
        _exit(EXIT_SUCCESS);
    }
}

static void assert_child_succeeds(void (*run)(void))
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        run();
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static void call_barrier(bool there)
{
    errno = EBADF;
    soon__barrier_everywhere();
    REQUIRE(errno == EBADF);
    REQUIRE(soon__has_barrier_everywhere() == there);
}

static void call_it_in_a_child(void)
{
    call_barrier(soon__has_barrier_everywhere());
}

static void call_it_in_a_sandbox(void)
{
    refuse_barriers();
    call_barrier(false);
    call_barrier(false);
}

START_TEST(a_forked_child_has_it_too)
{
    assert_child_succeeds(call_it_in_a_child);
}
END_TEST

START_TEST(in_a_sandbox_it_still_returns)
{
    assert_child_succeeds(call_it_in_a_sandbox);
}
END_TEST

/* Its first swift worker does not know yet; until somebody falls asleep beside one. */
static void play_in_a_sandbox(void)
{
    refuse_barriers();
    do
        play(20);
    while (soon__has_barrier_everywhere());
}

START_TEST(in_a_sandbox_nothing_is_overlooked)
{
    if (forked_may_start_threads("a pool in a sandbox"))
        assert_child_succeeds(play_in_a_sandbox);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("barrier");
    TCase *tc = test_case(suite, "barrier");

    tcase_add_test(tc, one_of_two_sees_the_other);
    tcase_add_test(tc, a_forked_child_has_it_too);
    tcase_add_test(tc, in_a_sandbox_it_still_returns);
    tc = test_case(suite, "swift");
    tcase_add_test(tc, what_a_swift_worker_forks_is_found);
    tcase_add_test(tc, a_worker_is_swift_only_while_it_forks);
    tcase_add_test(tc, what_is_forked_while_the_deque_was_full_begins_in_order);
    tcase_add_test(tc, in_a_sandbox_nothing_is_overlooked);
    return suite;
}
