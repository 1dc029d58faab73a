/* SPDX-License-Identifier: MIT */
/*
 * Fork and join in a thread pool: whatever a task does with what it has
 * forked, each child runs once, is counted once, and is freed with the last
 * reference to it or at the latest with the task.
 */
#include "support.h"

#include "core/deque.h"
#include "core/future.h"
#include "core/future_cache.h"
#include "core/thread.h"
#include "core/transition.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 24 };

/* The order in which a parent deals with its children. */
enum order { YOUNGEST_FIRST, OLDEST_FIRST, ORDERS };

struct family {
    soon_executor *ex;
    enum order join, drop;
    soon_future **left; /* where they are left, or NULL: dropped */
};

static int child(enum order order, int i)
{
    return order == OLDEST_FIRST ? i : CHILDREN - 1 - i;
}

static void fork_all(const struct family *me, soon_future **f)
{
    for (int i = 0; i < CHILDREN; i++)
        REQUIRE(soon_submit(me->ex, task_echo, &i, sizeof i, &f[i]) == 0);
}

static void join_all(enum order order, soon_future *const *f)
{
    for (int i = 0; i < CHILDREN; i++) {
        int which = child(order, i), value = -1;
        REQUIRE(soon_future_result(f[which], SOON_FOREVER, &value, sizeof value) == 0);
        REQUIRE(value == which);
    }
}

static int task_parent(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    soon_future *f[CHILDREN];

    (void)call;
    (void)arg_len;
    fork_all(me, f);
    join_all(me->join, f);
    for (int i = 0; i < CHILDREN; i++) {
        int which = child(me->drop, i);
        if (me->left)
            me->left[which] = f[which];
        else
            soon_future_unref(f[which]);
    }
    return 0;
}

static soon_executor *one_worker(void)
{
    soon_executor *ex;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    return ex;
}

static void assert_figures(soon_executor *ex, uint64_t finished, uint64_t helped)
{
    soon_stats stats;

    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.finished, finished);
    ck_assert_uint_eq(stats.helped, helped);
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.running, 0);
    soon_executor_unref(ex);
}

START_TEST(children_are_joined_and_dropped_in_any_order)
{
    struct family family = {one_worker(), (enum order)(_i / ORDERS), (enum order)(_i % ORDERS),
                            NULL};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_parent, &family, sizeof family, &f));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    assert_figures(family.ex, 1 + CHILDREN, CHILDREN);
}

/* Children joined before younger ones leave nothing behind, however often. */
static int task_joins_oldest_first(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    const struct soon__deque *own = soon__self.deque;
    soon_future *f[CHILDREN];

    (void)call;
    (void)arg_len;
    REQUIRE(own);
    for (int round = 0; round < 100; round++) {
        fork_all(me, f);
        join_all(OLDEST_FIRST, f);
        for (int i = 0; i < CHILDREN; i++)
            soon_future_unref(f[i]);
        REQUIRE(soon__deque_empty(own));
    }
    return 0;
}

START_TEST(children_joined_oldest_first_leave_the_deque_empty)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_joins_oldest_first, &family, sizeof family, &f));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    assert_figures(family.ex, 1 + 100 * CHILDREN, 100 * CHILDREN);
}

/* When the parent has ended nothing but the reference that it has passed on holds
 * a child. */
START_TEST(children_outlive_their_parent_as_long_as_they_are_held)
{
    soon_future *left[CHILDREN] = {NULL};
    struct family family = {one_worker(), (enum order)_i, YOUNGEST_FIRST, left};

    soon_future *f;

    assert_ok(soon_submit(family.ex, task_parent, &family, sizeof family, &f));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    assert_figures(family.ex, 1 + CHILDREN, CHILDREN);
    for (int i = 0; i < CHILDREN; i++) {
        assert_result_int(left[i], i);
        ck_assert_uint_eq(atomic_load(&left[i]->refs), 1);
        soon_future_unref(left[i]);
    }
}

/* ---- references ---- */

static int task_count_references(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    soon_future *f, *g;
    int value = 7;

    (void)call;
    (void)arg_len;
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &f) == 0);
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &g) == 0);
    REQUIRE(soon_future_wait(g, SOON_FOREVER) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    REQUIRE(atomic_load(&f->refs) == 1 && atomic_load(&g->refs) == 1);
    soon_future_ref(f);
    soon_future_unref(f);
    soon_future_unref(g);
    REQUIRE(soon_future_result(f, 0, &value, sizeof value) == 0 && value == 7);
    soon_future_unref(f);
    return 0;
}

START_TEST(what_is_joined_has_only_the_users_reference)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_count_references, &family, sizeof family, &f));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    ck_assert_int_eq(soon_future_value(f, 0, NULL, NULL), 0);
    soon_future_unref(f);
    assert_figures(family.ex, 3, 2);
}

static int task_drop_twice(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    soon_future *f, *g;
    int value = 7;

    (void)call;
    (void)arg_len;
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &f) == 0);
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &g) == 0);
    REQUIRE(soon_future_wait(g, SOON_FOREVER) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(g);
    soon_future_unref(g);
    _exit(0);
}

static void drop_twice(void *data)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    (void)data;
    assert_ok(soon_submit(family.ex, task_drop_twice, &family, sizeof family, &f));
    soon_future_wait(f, SOON_FOREVER);
}

START_TEST(a_reference_dropped_twice_is_found)
{
    if (!soon__future_cache_keeps())
        printf("SKIP: a reference dropped twice: in this build the checker sees it\n");
    else if (forked_may_start_threads("a reference dropped twice"))
        assert_aborts(drop_twice, NULL);
}

/* The user may drop his while the task ends: the queue's is then the last, though it
 * was not a moment ago. */
START_TEST(the_last_reference_may_go_with_the_end)
{
    soon_future *f = soon__future_new();

    ck_assert_ptr_nonnull(f);
    atomic_fetch_or(&f->state, SOON_RUNNING | SOON__CALL);
    ck_assert(!soon__finish_queued(f));
    if (soon__future_cache_keeps()) /* else a leak would be found */
        ck_assert(soon__future_is_at_hand() && soon__self.futures.next[-1] == f);
}

/* ---- children that end otherwise ---- */

enum { LARGE = 100000 };

static int task_large(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned char *to = soon_return_buffer(call, LARGE);

    (void)arg_len;
    REQUIRE(to);
    memset(to, *(const int *)arg, LARGE);
    return 0;
}

static int task_few_bytes(soon_call *call, const void *arg, size_t arg_len)
{
    return soon_return(call, arg, arg_len);
}

/* Each length that fits, and the next. */
static void join_lengths(soon_executor *ex)
{
    unsigned char bytes[SOON__PAYLOAD + 1], got[SOON__PAYLOAD + 1];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i + 1);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        soon_future *f;
        memset(got, 0, sizeof got);
        REQUIRE(soon_submit(ex, task_few_bytes, bytes, len, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, got, len) == 0);
        REQUIRE(memcmp(got, bytes, len) == 0 && (len == sizeof got || got[len] == 0));
        REQUIRE(soon_future_result(f, SOON_FOREVER, got, len + 1) == -EMSGSIZE);
        soon_future_unref(f);
    }
}

static int task_few_words(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    return soon_fail(call, *(const int *)arg, "odd");
}

static int task_odd_children(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    const unsigned char *bytes;
    soon_future *failed, *large, *cancelled, *wrong;
    soon_error error;
    int value = 7, code = -EDOM;
    size_t len;

    (void)call;
    (void)arg_len;
    REQUIRE(soon_submit(me->ex, task_few_words, &code, sizeof code, &failed) == 0);
    REQUIRE(soon_submit(me->ex, task_large, &value, sizeof value, &large) == 0);
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &wrong) == 0);
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &cancelled) == 0);
    REQUIRE(soon_future_cancel(cancelled));
    REQUIRE(soon_future_result(cancelled, SOON_FOREVER, &value, sizeof value) == -ECANCELED);
    REQUIRE(soon_future_result(wrong, SOON_FOREVER, &value, 1) == -EMSGSIZE);
    REQUIRE(soon_future_result(wrong, 0, &value, sizeof value) == 0 && value == 7);
    REQUIRE(soon_future_value(large, SOON_FOREVER, (const void **)&bytes, &len) == 0);
    REQUIRE(len == LARGE && bytes[0] == 7 && bytes[LARGE - 1] == 7);
    REQUIRE(soon_future_result(failed, SOON_FOREVER, &value, sizeof value) == -EDOM);
    REQUIRE(soon_future_error(failed, 0, &error) == 0 && strcmp(error.message, "odd") == 0);
    soon_future_unref(failed);
    soon_future_unref(large);
    soon_future_unref(cancelled);
    soon_future_unref(wrong);
    join_lengths(me->ex);
    return 0;
}

START_TEST(children_may_end_in_any_way)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;
    soon_stats stats;

    assert_ok(soon_submit(family.ex, task_odd_children, &family, sizeof family, &f));
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), 0);
    soon_future_unref(f);
    assert_ok(soon_executor_stats(family.ex, &stats));
    ck_assert_uint_eq(stats.failed, 1);
    ck_assert_uint_eq(stats.cancelled, 1);
    assert_figures(family.ex, 3 + SOON__PAYLOAD + 2, 3 + SOON__PAYLOAD + 2);
}

/* ---- what is told and counted ---- */

static void note(soon_future *f, void *data)
{
    (void)f;
    ++*(int *)data;
}

static int task_heeded_child(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    soon_future *f;
    int value = 7, calls = 0;

    (void)call;
    (void)arg_len;
    REQUIRE(soon_submit(me->ex, task_echo, &value, sizeof value, &f) == 0);
    REQUIRE(soon_future_add_done_callback(f, note, &calls) == 0);
    REQUIRE(soon_future_result(f, SOON_FOREVER, &value, sizeof value) == 0 && value == 7);
    REQUIRE(calls == 1 && atomic_load(&f->refs) == 1);
    soon_future_unref(f);
    return 0;
}

START_TEST(a_child_with_a_callback_is_joined)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_heeded_child, &family, sizeof family, &f));
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), 0);
    soon_future_unref(f);
    assert_figures(family.ex, 2, 1);
}

enum { ALL_LENGTHS = SOON__PAYLOAD * (SOON__PAYLOAD + 1) / 2 };

static int task_all_lengths(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    const unsigned char bytes[SOON__PAYLOAD] = {0};
    unsigned char got[SOON__PAYLOAD];

    (void)call;
    (void)arg_len;
    for (size_t len = 0; len <= SOON__PAYLOAD; len++) {
        soon_future *f;
        REQUIRE(soon_submit(me->ex, task_few_bytes, bytes, len, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, got, len) == 0);
        soon_future_unref(f);
    }
    return 0;
}

static void assert_bytes(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.bytes_in, sizeof(struct family) + ALL_LENGTHS);
    ck_assert_uint_eq(stats.bytes_out, ALL_LENGTHS);
}

/* The worker's own figures count, and those that it leaves. */
START_TEST(bytes_are_counted_whatever_their_number)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_all_lengths, &family, sizeof family, &f));
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), 0);
    soon_future_unref(f);
    assert_bytes(family.ex);
    assert_ok(soon_shutdown(family.ex, SOON_FOREVER, 0));
    assert_bytes(family.ex);
    assert_figures(family.ex, SOON__PAYLOAD + 2, SOON__PAYLOAD + 1);
}

/* ---- children that fork the process ---- */

/* Returns in both processes, 1 in the child. */
static int task_fork(soon_call *call, const void *arg, size_t arg_len)
{
    pid_t pid = fork();
    int child = pid == 0, status;

    (void)arg;
    (void)arg_len;
    REQUIRE(pid >= 0);
    if (pid > 0)
        REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return soon_return(call, &child, sizeof child);
}

static int task_join_fork(soon_call *call, const void *arg, size_t arg_len)
{
    const struct family *me = arg;
    soon_future *f, *g;
    int child = 7;

    (void)call;
    (void)arg_len;
    REQUIRE(soon_submit(me->ex, task_fork, NULL, 0, &f) == 0);
    REQUIRE(soon_future_result(f, SOON_FOREVER, &child, sizeof child) == 0);
    soon_future_unref(f);
    if (child) {
        /* What the executor is to it now: its parent's. */
        REQUIRE(soon_submit(me->ex, task_fork, NULL, 0, &g) == -ENOTRECOVERABLE);
        _exit(0);
    }
    return child;
}

START_TEST(a_child_that_forks_is_joined_in_both_processes)
{
    struct family family = {.ex = one_worker()};
    soon_future *f;

    assert_ok(soon_submit(family.ex, task_join_fork, &family, sizeof family, &f));
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), 0);
    soon_future_unref(f);
    assert_figures(family.ex, 2, 1);
}

/* ---- against thieves, cancellers and a shutdown ---- */

enum { DEPTH = 14, ROUNDS = 30 };

struct branch {
    soon_executor *ex;
    int depth;
};

/* How many it is of, with its own. One of the branches may be cancelled. */
static int task_branch(soon_call *call, const void *arg, size_t arg_len)
{
    const struct branch *me = arg;
    struct branch next = {me->ex, me->depth - 1};
    long n[2] = {0, 0}, sum;
    soon_future *f[2];

    if (me->depth == 0)
        return soon_return(call, &(long){1}, sizeof(long));
    for (int i = 0; i < 2; i++) {
        int error = soon_submit(me->ex, task_branch, &next, sizeof next, &f[i]);
        REQUIRE(error == 0 || error == -ESHUTDOWN);
        if (error)
            f[i] = NULL;
    }
    for (int i = 2; i--;) {
        int error = f[i] ? soon_future_result(f[i], SOON_FOREVER, &n[i], sizeof n[i]) : 0;
        REQUIRE(error == 0 || error == -ECANCELED);
        soon_future_unref(f[i]);
    }
    sum = 1 + n[0] + n[1];
    (void)arg_len;
    return soon_return(call, &sum, sizeof sum);
}

START_TEST(each_branch_of_a_tree_runs_once_whoever_takes_it)
{
    const long all = (2L << DEPTH) - 1;
    struct branch root = {NULL, DEPTH};
    soon_stats stats;
    soon_future *f;
    long n;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 4}, &root.ex));
    for (int i = 0; i < ROUNDS; i++) {
        assert_ok(soon_submit(root.ex, task_branch, &root, sizeof root, &f));
        assert_ok(soon_future_result(f, SOON_FOREVER, &n, sizeof n));
        ck_assert_int_eq(n, all);
        soon_future_unref(f);
    }
    assert_ok(soon_shutdown(root.ex, SOON_FOREVER, 0));
    assert_ok(soon_executor_stats(root.ex, &stats));
    ck_assert_uint_eq(stats.finished, (uint64_t)all * ROUNDS);
    soon_executor_unref(root.ex);
}

/* What is being forked and joined when the shutdown comes is run, cancelled or
 * refused. */
START_TEST(a_shutdown_that_cancels_ends_a_tree)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct branch root = {NULL, DEPTH};
        soon_stats stats;

        assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, &root.ex));
        assert_ok(soon_submit(root.ex, task_branch, &root, sizeof root, NULL));
        sleep_ns((soon_ns)50000 * i);
        assert_ok(soon_shutdown(root.ex, SOON_FOREVER, SOON_CANCEL_FUTURES));
        assert_ok(soon_executor_stats(root.ex, &stats));
        ck_assert_uint_eq(stats.running + stats.pending, 0);
        soon_executor_unref(root.ex);
    }
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("fork and join");
    TCase *children = test_case(suite, "children");
    TCase *trees = test_case(suite, "trees");

    tcase_add_loop_test(children, children_are_joined_and_dropped_in_any_order, 0, ORDERS * ORDERS);
    tcase_add_test(children, children_joined_oldest_first_leave_the_deque_empty);
    tcase_add_loop_test(children, children_outlive_their_parent_as_long_as_they_are_held, 0,
                        ORDERS);
    tcase_add_test(children, what_is_joined_has_only_the_users_reference);
    tcase_add_test(children, a_reference_dropped_twice_is_found);
    tcase_add_test(children, the_last_reference_may_go_with_the_end);
    tcase_add_test(children, children_may_end_in_any_way);
    tcase_add_test(children, a_child_with_a_callback_is_joined);
    tcase_add_test(children, bytes_are_counted_whatever_their_number);
    tcase_add_test(children, a_child_that_forks_is_joined_in_both_processes);

    tcase_add_test(trees, each_branch_of_a_tree_runs_once_whoever_takes_it);
    tcase_add_test(trees, a_shutdown_that_cancels_ends_a_tree);
    return suite;
}
