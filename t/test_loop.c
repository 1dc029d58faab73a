/* SPDX-License-Identifier: MIT */
/* The loop executor: its descriptor, budgets, waits, several threads, its
 * end. */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

static soon_executor *loop_up(void)
{
    soon_executor *loop = NULL;

    assert_ok(soon_loop_new(&loop));
    ck_assert_str_eq(soon_executor_backend(loop), "loop");
    return loop;
}

static void loop_down(soon_executor *loop)
{
    assert_ok(soon_shutdown(loop, SOON_FOREVER, 0));
    soon_executor_unref(loop);
}

static bool readable(soon_executor *loop, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = soon_loop_fd(loop), .events = POLLIN};
    int ready;

    ck_assert_int_ge(poll_fd.fd, 0);
    ready = poll(&poll_fd, 1, timeout_ms);
    ck_assert_int_ge(ready, 0);
    return ready == 1 && poll_fd.revents & POLLIN;
}

static void submit_n(soon_executor *ex, int n)
{
    for (int i = 0; i < n; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
}

/* ---- running ---- */

static int task_say_thread(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_t me = pthread_self();

    (void)arg;
    (void)arg_len;
    return soon_return(call, &me, sizeof me);
}

START_TEST(a_task_runs_where_the_loop_is_run_and_not_before)
{
    soon_executor *loop = loop_up();
    soon_future *f = submit(loop, task_say_thread, NULL, 0);
    pthread_t thread;

    ck_assert_int_eq(soon_future_wait(f, SOON_MS(2)), -ETIMEDOUT);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 1);
    assert_ok(soon_future_result(f, 0, &thread, sizeof thread));
    ck_assert(pthread_equal(thread, pthread_self()));
    soon_future_unref(f);
    loop_down(loop);
}

START_TEST(run_stops_at_its_budget)
{
    soon_executor *loop = loop_up();

    submit_n(loop, 10);
    ck_assert_int_eq(soon_loop_run(loop, 3, SOON_FOREVER), 3);
    ck_assert_int_eq(soon_loop_run(loop, 1, 0), 1);
    ck_assert_int_eq(soon_loop_run(loop, 100, 0), 6);
    ck_assert_int_eq(soon_loop_run(loop, 100, 0), 0);
    loop_down(loop);
}

struct spawner {
    soon_executor *loop;
    int left;
};

static int task_spawn_one_more(soon_call *call, const void *arg, size_t arg_len)
{
    struct spawner me;

    (void)call;
    (void)arg_len;
    memcpy(&me, arg, sizeof me);
    if (me.left-- > 0)
        REQUIRE(soon_submit(me.loop, task_spawn_one_more, &me, sizeof me, NULL) == 0);
    return 0;
}

START_TEST(run_takes_in_what_comes_meanwhile)
{
    soon_executor *loop = loop_up();
    const struct spawner spawner = {loop, 99};

    assert_ok(soon_submit(loop, task_spawn_one_more, &spawner, sizeof spawner, NULL));
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 100);
    assert_ok(soon_submit(loop, task_spawn_one_more, &spawner, sizeof spawner, NULL));
    ck_assert_int_eq(soon_loop_run(loop, 30, 0), 30);
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 70);
    loop_down(loop);
}

START_TEST(run_waits_for_the_first_as_long_as_asked)
{
    soon_executor *loop = loop_up();
    soon_ns start = now_ns();

    ck_assert_int_eq(soon_loop_run(loop, 0, SOON_MS(20)), 0);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    loop_down(loop);
}

struct one_run {
    soon_executor *loop;
    soon_ns timeout;
    _Atomic int ran;
};

static void run_once(void *data)
{
    struct one_run *r = data;

    r->ran = soon_loop_run(r->loop, 0, r->timeout);
}

START_TEST(a_submit_wakes_the_loop)
{
    static const soon_ns timeouts[] = {SOON_FOREVER, INT64_MAX, SOON_SECONDS(50)};
    struct one_run r = {.loop = loop_up(), .timeout = timeouts[_i]};
    struct thread runner;

    thread_start(&runner, run_once, &r);
    thread_await_sleep(&runner);
    submit_n(r.loop, 1);
    thread_join(&runner);
    ck_assert_int_eq(r.ran, 1);
    loop_down(r.loop);
}

static int task_run_the_rest(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *loop;
    int ran;

    (void)arg_len;
    memcpy(&loop, arg, sizeof loop);
    ran = soon_loop_run(loop, 0, 0);
    return soon_return(call, &ran, sizeof ran);
}

START_TEST(a_task_may_run_its_own_loop)
{
    soon_executor *loop = loop_up();
    soon_future *f = submit(loop, task_run_the_rest, &loop, sizeof loop);

    submit_n(loop, 2);
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 1);
    assert_result_int(f, 2);
    soon_future_unref(f);
    loop_down(loop);
}

/* ---- the descriptor ---- */

START_TEST(its_descriptor_is_readable_while_tasks_are_queued)
{
    soon_executor *loop = loop_up();
    soon_future *f;

    ck_assert(!readable(loop, 0));
    submit_n(loop, 2);
    ck_assert(readable(loop, -1));
    ck_assert_int_eq(soon_loop_run(loop, 1, 0), 1);
    ck_assert(readable(loop, -1));
    ck_assert_int_eq(soon_loop_run(loop, 1, 0), 1);
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 0);
    ck_assert(!readable(loop, 0));
    f = submit(loop, task_nothing, NULL, 0);
    ck_assert(readable(loop, -1));
    ck_assert(soon_future_cancel(f));
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 0);
    ck_assert(!readable(loop, 0));
    soon_future_unref(f);
    loop_down(loop);
}

START_TEST(its_descriptor_is_one_and_closes_on_exec)
{
    soon_executor *loop = loop_up();
    int fd = soon_loop_fd(loop);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(soon_loop_fd(loop), fd);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    loop_down(loop);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}

/* Until then nobody keeps it up to date. */
START_TEST(a_descriptor_that_is_asked_for_late_tells_what_is_queued)
{
    soon_executor *empty = loop_up(), *loop = loop_up();

    submit_n(empty, 1);
    ck_assert_int_eq(soon_loop_run(empty, 0, 0), 1);
    ck_assert(!readable(empty, 0));
    submit_n(loop, 2);
    ck_assert_int_eq(soon_loop_run(loop, 1, 0), 1);
    ck_assert(readable(loop, 0));
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 1);
    ck_assert(!readable(loop, 0));
    submit_n(loop, 1);
    ck_assert(readable(loop, 0));
    loop_down(empty);
    loop_down(loop);
}
END_TEST

static void submit_squares(void *data)
{
    for (int i = 0; i < 300; i++)
        REQUIRE(soon_submit(data, task_square, &i, sizeof i, NULL) == 0);
}

START_TEST(an_epoll_program_misses_nothing)
{
    struct epoll_event event = {.events = EPOLLIN};
    soon_executor *loop = loop_up();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), ran = 0;
    struct thread submitter;

    ck_assert_int_ge(epoll_fd, 0);
    assert_ok(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, soon_loop_fd(loop), &event));
    thread_start(&submitter, submit_squares, loop);
    while (ran < 300) {
        int n = epoll_wait(epoll_fd, &event, 1, -1);

        if (n < 0)
            ck_assert_int_eq(errno, EINTR);
        if (n == 1)
            ran += soon_loop_run(loop, 0, 0);
    }
    ck_assert_int_eq(ran, 300);
    thread_join(&submitter);
    close(epoll_fd);
    loop_down(loop);
}

enum { HANDED = 20000 };

/* Each when the one before is done, so that the loop is about to sleep, or just has. */
static void hand_over(void *data)
{
    for (int i = 0; i < HANDED; i++) {
        soon_future *f = NULL;
        REQUIRE(soon_submit(data, task_nothing, NULL, 0, &f) == 0);
        REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
        soon_future_unref(f);
    }
}

START_TEST(a_loop_about_to_sleep_misses_nothing)
{
    soon_executor *loop = loop_up();
    struct thread submitter;

    thread_start(&submitter, hand_over, loop);
    for (int ran = 0; ran < HANDED;)
        ran += soon_loop_run(loop, 0, SOON_FOREVER);
    thread_join(&submitter);
    loop_down(loop);
}
END_TEST

/* ---- forks ---- */

static pid_t child = -1;

static void fork_here(soon_future *f, void *data)
{
    (void)f, (void)data;
    child = fork();
}

/* The other callback, which is due, runs before the loop's tasks. */
static void run_here(soon_future *f, void *loop)
{
    int ran = soon_loop_run(loop, 0, 0);

    (void)f;
    if (child == 0)
        _exit(ran);
    REQUIRE(ran == 1);
}

START_TEST(a_fork_in_a_callback_leaves_the_tasks_to_the_parent)
{
    soon_executor *loop = loop_up();
    soon_future *f = promise();
    int status = -1;

    submit_n(loop, 1);
    ck_assert(readable(loop, 0));
    assert_ok(soon_future_add_done_callback(f, run_here, loop));
    assert_ok(soon_future_add_done_callback(f, fork_here, NULL));
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    soon_future_unref(f);
    loop_down(loop);
}
END_TEST

/* ---- several threads ---- */

struct shared_loop {
    soon_executor *loop;
    _Atomic int ran;
    atomic_bool over;
};

static void run_until_over(void *data)
{
    struct shared_loop *s = data;

    while (!s->over) {
        int n = soon_loop_run(s->loop, 5, SOON_MS(1));

        REQUIRE(n >= 0);
        s->ran += n;
    }
}

START_TEST(several_threads_may_run_one_loop)
{
    enum { N = 2000 };
    shared_count *count = shared_new(sizeof *count);
    struct shared_loop s = {.loop = loop_up()};
    struct thread runners[3];
    soon_future *last;

    for (int i = 0; i < 3; i++)
        thread_start(&runners[i], run_until_over, &s);
    for (int i = 0; i < N - 1; i++)
        assert_ok(soon_submit(s.loop, task_count, &count, sizeof count, NULL));
    last = submit(s.loop, task_count, &count, sizeof count);
    assert_ok(soon_future_wait(last, SOON_FOREVER));
    assert_ok(soon_shutdown(s.loop, SOON_FOREVER, 0));
    s.over = true;
    for (int i = 0; i < 3; i++)
        thread_join(&runners[i]);
    ck_assert_uint_eq(*count, N);
    ck_assert_int_eq(s.ran, N);
    soon_future_unref(last);
    soon_executor_unref(s.loop);
    shared_free(count, sizeof *count);
}

/* ---- its end ---- */

START_TEST(shutdown_runs_the_queue_itself_if_nobody_ever_ran_the_loop)
{
    soon_executor *loop = loop_up();
    soon_future *f = submit_int(loop, task_square, 4);

    ck_assert_int_eq(soon_shutdown(loop, 0, 0), 0);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    assert_ok(soon_shutdown(loop, SOON_FOREVER, 0));
    assert_result_int(f, 16);
    soon_future_unref(f);
    soon_executor_unref(loop);
}

START_TEST(shutdown_in_the_loops_thread_runs_the_queue)
{
    soon_executor *loop = loop_up();
    soon_future *f;

    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 0);
    f = submit_int(loop, task_square, 5);
    assert_ok(soon_shutdown(loop, SOON_FOREVER, 0));
    assert_result_int(f, 25);
    soon_future_unref(f);
    soon_executor_unref(loop);
}

static void poll_loop_once(void *data)
{
    REQUIRE(soon_loop_run(data, 0, 0) == 0);
}

START_TEST(shutdown_elsewhere_waits_for_the_loops_thread)
{
    struct one_run r = {.loop = loop_up(), .timeout = SOON_FOREVER};
    struct thread runner;
    soon_future *f;

    thread_start(&runner, poll_loop_once, r.loop);
    thread_join(&runner);
    f = submit(r.loop, task_say_thread, NULL, 0);
    ck_assert_int_eq(soon_shutdown(r.loop, SOON_MS(10), 0), -ETIMEDOUT);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    ck_assert(readable(r.loop, -1));
    thread_start(&runner, run_once, &r);
    assert_ok(soon_shutdown(r.loop, SOON_FOREVER, 0));
    thread_join(&runner);
    ck_assert_int_eq(r.ran, 1);
    ck_assert(soon_future_done(f));
    soon_future_unref(f);
    soon_executor_unref(r.loop);
}

START_TEST(after_shutdown_run_does_not_wait)
{
    soon_executor *loop = loop_up();

    submit_n(loop, 3);
    assert_ok(soon_shutdown(loop, 0, 0));
    ck_assert_int_eq(soon_loop_run(loop, 0, SOON_FOREVER), 3);
    ck_assert_int_eq(soon_loop_run(loop, 0, SOON_FOREVER), 0);
    ck_assert(!readable(loop, 0));
    loop_down(loop);
}

START_TEST(shutdown_wakes_a_loop_that_waits)
{
    struct one_run r = {.loop = loop_up(), .timeout = SOON_FOREVER, .ran = -1};
    struct thread runner;

    thread_start(&runner, run_once, &r);
    thread_await_sleep(&runner);
    assert_ok(soon_shutdown(r.loop, 0, 0));
    thread_join(&runner);
    ck_assert_int_eq(r.ran, 0);
    loop_down(r.loop);
}

START_TEST(a_loop_that_is_dropped_with_work_in_it_leaves_no_future_undone)
{
    soon_executor *loop = loop_up();
    soon_future *f = submit_int(loop, task_square, 6);

    soon_executor_unref(loop);
    assert_ok(soon_future_wait(f, SOON_SECONDS(50)));
    soon_future_unref(f);
}

START_TEST(bad_input_is_refused)
{
    soon_executor *pool = NULL;

    ck_assert_int_eq(soon_loop_new(NULL), -EINVAL);
    ck_assert_int_eq(soon_loop_fd(NULL), -EINVAL);
    ck_assert_int_eq(soon_loop_run(NULL, 0, 0), -EINVAL);
    assert_ok(soon_thread_pool_new(NULL, &pool));
    ck_assert_int_eq(soon_loop_fd(pool), -EINVAL);
    ck_assert_int_eq(soon_loop_run(pool, 0, 0), -EINVAL);
    assert_ok(soon_shutdown(pool, SOON_FOREVER, 0));
    soon_executor_unref(pool);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *running = test_case(suite, "running");
    TCase *descriptor = test_case(suite, "descriptor");
    TCase *end = test_case(suite, "end");

    tcase_add_test(running, a_task_runs_where_the_loop_is_run_and_not_before);
    tcase_add_test(running, run_stops_at_its_budget);
    tcase_add_test(running, run_takes_in_what_comes_meanwhile);
    tcase_add_test(running, run_waits_for_the_first_as_long_as_asked);
    tcase_add_loop_test(running, a_submit_wakes_the_loop, 0, 3);
    tcase_add_test(running, a_loop_about_to_sleep_misses_nothing);
    tcase_add_test(running, a_fork_in_a_callback_leaves_the_tasks_to_the_parent);
    tcase_add_test(running, a_task_may_run_its_own_loop);
    tcase_add_test(running, several_threads_may_run_one_loop);
    tcase_add_test(running, bad_input_is_refused);

    tcase_add_test(descriptor, its_descriptor_is_readable_while_tasks_are_queued);
    tcase_add_test(descriptor, its_descriptor_is_one_and_closes_on_exec);
    tcase_add_test(descriptor, a_descriptor_that_is_asked_for_late_tells_what_is_queued);
    tcase_add_test(descriptor, an_epoll_program_misses_nothing);

    tcase_add_test(end, shutdown_runs_the_queue_itself_if_nobody_ever_ran_the_loop);
    tcase_add_test(end, shutdown_in_the_loops_thread_runs_the_queue);
    tcase_add_test(end, shutdown_elsewhere_waits_for_the_loops_thread);
    tcase_add_test(end, after_shutdown_run_does_not_wait);
    tcase_add_test(end, shutdown_wakes_a_loop_that_waits);
    tcase_add_test(end, a_loop_that_is_dropped_with_work_in_it_leaves_no_future_undone);
    return suite;
}
