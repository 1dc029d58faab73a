/* SPDX-License-Identifier: MIT */
/*
 * Where a thread's stack ends: of the first thread, which grows on demand; of
 * others; and of a process that is its own first thread and runs on neither.
 */
#include "support.h"

#include "core/thread.h"
#include "os/thread.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uintptr_t here(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

/* The limit of the first stack, at or a little below its end. */
static uintptr_t lowest_by_limit(void)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_STACK, &limit) == 0);
    REQUIRE(limit.rlim_cur != RLIM_INFINITY);
    return here() - limit.rlim_cur;
}

/* A little: from here up to the first frame, with arguments and environment in
 * a page or so, unless there are more of them. */
static void expect_first_stack(size_t above)
{
    uintptr_t low = soon__thread_stack_low(), by_limit = lowest_by_limit();

    REQUIRE(low > by_limit && low - by_limit < (256 << 10) + above);
}

START_TEST(the_first_stack_ends_at_its_limit)
{
    expect_first_stack(0);
}
END_TEST

/* exit status 0 if fn holds in a child that this thread forks */
static void in_child(void (*fn)(void))
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        fn();
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

static void expect_limit(void)
{
    expect_first_stack(0);
}

START_TEST(a_child_of_the_first_thread_has_the_first_stack)
{
    in_child(expect_limit);
}
END_TEST

/* What pthread_create() gave this thread. */
static _Thread_local uintptr_t low, top;

static void look_up(void)
{
    pthread_attr_t attr;
    void *at;
    size_t size;

    REQUIRE(pthread_getattr_np(pthread_self(), &attr) == 0);
    REQUIRE(pthread_attr_getstack(&attr, &at, &size) == 0);
    REQUIRE(pthread_attr_destroy(&attr) == 0);
    low = (uintptr_t)at;
    top = low + size;
}

static void expect_own(void)
{
    REQUIRE(here() > low && here() < top);
    REQUIRE(soon__thread_stack_low() == low);
}

static void in_thread(void *data)
{
    (void)data;
    look_up();
    expect_own();
    in_child(expect_own); /* there it is the first thread of its process */
}

START_TEST(any_other_stack_is_as_it_was_made)
{
    struct thread thread;

    thread_start(&thread, in_thread, NULL);
    thread_join(&thread);
}
END_TEST

/* Recurses while the library says that there is stack left for a task. */
static unsigned char use_stack(uintptr_t *lowest)
{
    volatile unsigned char frame[4096];

    frame[0] = 1;
    *lowest = here();
    if (!soon__stack_left())
        return frame[0];
    return (unsigned char)(use_stack(lowest) + frame[0]);
}

/* Stops in time, or this ends otherwise; and not before most of it is used. */
static void use_all(void)
{
    uintptr_t start = here(), lowest = start;

    REQUIRE(start - low > (192 << 10)); /* else nothing is shown */
    use_stack(&lowest);
    REQUIRE(lowest > low && start - lowest > (start - low) / 8);
}

static void *use_all_in_child(void *unused)
{
    look_up();
    in_child(use_all);
    return unused;
}

START_TEST(a_child_of_a_thread_stops_in_time)
{
    pthread_t thread;
    pthread_attr_t attr;

    /* With a limit of 8 MiB it must not take this for the first stack. */
    REQUIRE(pthread_attr_init(&attr) == 0);
    REQUIRE(pthread_attr_setstacksize(&attr, 1 << 20) == 0);
    ck_assert_int_eq(pthread_create(&thread, &attr, use_all_in_child, NULL), 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(pthread_attr_destroy(&attr) == 0);
}
END_TEST

/* The kernel keeps arguments and environment above the first stack, up to a
 * quarter of its limit, and what tells the stack lies above their table. This
 * program once more, with so many that the table alone takes 1 MiB. */
START_TEST(a_large_environment_makes_no_difference)
{
    enum { VARIABLES = 128 << 10 };
    static char *environment[VARIABLES + 4];
    int status = -1;

    if (getenv("SOON_TEST_LARGE_ENVIRONMENT")) {
        expect_first_stack(2 << 20);
        return;
    }
    char program[4096] = ""; /* not the link, which valgrind would take for itself */
    ck_assert_int_gt(readlink("/proc/self/exe", program, sizeof program - 1), 0);
    size_t n = 0;
    environment[n++] = (char *)"SOON_TEST_LARGE_ENVIRONMENT=1";
    environment[n++] = (char *)"CK_FORK=no";
    environment[n++] = (char *)"CK_RUN_CASE=large";
    while (n < VARIABLES)
        environment[n++] = (char *)"A=";
    pid_t child = fork();
    if (child == 0) {
        execve(program, (char *[]){program, NULL}, environment);
        _exit(77);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(without_a_limit_the_end_is_unknown)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_STACK, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_STACK, &limit), 0);
    if (limit.rlim_max != RLIM_INFINITY)
        return;
    ck_assert_uint_eq(soon__thread_stack_low(), 0);
    soon__self.stack_low = 0;
    ck_assert(soon__stack_left());
    ck_assert_uint_eq(soon__self.stack_low, UINTPTR_MAX); /* and not asked again */
    ck_assert(soon__stack_left());
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("thread");
    TCase *stack = test_case(suite, "stack"), *large = test_case(suite, "large");

    tcase_add_test(stack, the_first_stack_ends_at_its_limit);
    tcase_add_test(stack, a_child_of_the_first_thread_has_the_first_stack);
    tcase_add_test(stack, any_other_stack_is_as_it_was_made);
    tcase_add_test(stack, a_child_of_a_thread_stops_in_time);
    tcase_add_test(stack, without_a_limit_the_end_is_unknown);
    tcase_add_test(large, a_large_environment_makes_no_difference);
    return suite;
}
