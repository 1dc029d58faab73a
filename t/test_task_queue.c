/* SPDX-License-Identifier: MIT */
/*
 * soon_task_queue: three lanes, first-in first-out within each, with ageing.
 * The futures come from a backend that only keeps what it is given.
 */
#include "support.h"

#include <soon/backend.h>

/* ---- where futures come from ---- */

struct shelf {
    soon_executor base; /* first: an executor is one of these */
    soon_future *kept;  /* the chain that the last submit brought */
    bool destroyed;
};

static int shelf_submit(soon_executor *ex, soon_future *chain, size_t n)
{
    (void)n;
    ((struct shelf *)ex)->kept = chain;
    return 0;
}

static void shelf_close(soon_executor *ex, unsigned flags)
{
    (void)ex, (void)flags;
}

static int shelf_join(soon_executor *ex, soon_ns deadline)
{
    return soon_executor_drain(ex, deadline);
}

static void shelf_destroy(soon_executor *ex)
{
    ((struct shelf *)ex)->destroyed = true;
    soon_executor_fini(ex);
}

static const struct soon_executor_ops shelf_ops = {
    .backend = "shelf",
    .flags = SOON_BACKEND_LOCAL,
    .submit = shelf_submit,
    .close = shelf_close,
    .join = shelf_join,
    .destroy = shelf_destroy,
};

static struct shelf shelf;
static struct soon_task_queue queue;

static void shelf_up(void)
{
    shelf = (struct shelf){.destroyed = false};
    queue = (struct soon_task_queue){.count = 0};
    assert_ok(
        soon_executor_init(&shelf.base, &shelf_ops, &(struct soon_executor_limits){.workers = 1}));
}

static void shelf_down(void)
{
    ck_assert_uint_eq(queue.count, 0);
    assert_ok(soon_shutdown(&shelf.base, SOON_FOREVER, 0));
    soon_executor_unref(&shelf.base);
    ck_assert(shelf.destroyed);
}

/* A chain of n detached tasks, numbered from first, with these priorities. */
static soon_future *chain(int first, size_t n, const int *priorities)
{
    soon_task *tasks = calloc(n, sizeof *tasks);
    int *numbers = calloc(n, sizeof *numbers);

    EXPECT(tasks && numbers);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = first + (int)i;
        tasks[i] = (soon_task){.fn = task_nothing,
                               .arg = &numbers[i],
                               .arg_len = sizeof numbers[i],
                               .priority = priorities[i]};
    }
    EXPECT(soon_submit_many(&shelf.base, tasks, n, NULL) == 0);
    free(tasks);
    free(numbers);
    return shelf.kept;
}

static void push(int number, int priority)
{
    soon_task_queue_push(&queue, chain(number, 1, &priority));
}

/* The number of a future that is done with, or -1 for NULL. */
static int spend(soon_future *f)
{
    soon_task task;
    int number;

    if (!f)
        return -1;
    soon_future_task(f, &task);
    EXPECT(task.fn == task_nothing && task.arg_len == sizeof number);
    memcpy(&number, task.arg, sizeof number);
    soon_future_run(f);
    soon_future_unref(f);
    return number;
}

static int pop(void)
{
    return spend(soon_task_queue_pop(&queue));
}

enum { HIGH = SOON_PRIORITY_HIGH, NORMAL = SOON_PRIORITY_NORMAL, LOW = SOON_PRIORITY_LOW };

/* ---- order ---- */

START_TEST(an_empty_queue_gives_nothing)
{
    ck_assert_ptr_null(soon_task_queue_pop(&queue));
    ck_assert_ptr_null(soon_task_queue_sweep(&queue));
    ck_assert_uint_eq(queue.count, 0);
    push(1, NORMAL);
    ck_assert_int_eq(pop(), 1);
    ck_assert_ptr_null(soon_task_queue_pop(&queue));
}
END_TEST

START_TEST(higher_goes_first_and_equals_in_their_order)
{
    static const int priorities[] = {LOW, HIGH, NORMAL, LOW, NORMAL, HIGH, NORMAL};
    static const int expected[] = {1, 5, 2, 4, 6, 0, 3};

    soon_task_queue_push(&queue, chain(0, 7, priorities));
    ck_assert_uint_eq(queue.count, 7);
    for (size_t i = 0; i < 7; i++) {
        ck_assert_int_eq(pop(), expected[i]);
        ck_assert_uint_eq(queue.count, 6 - i);
    }
}
END_TEST

START_TEST(a_chain_goes_behind_what_is_there)
{
    static const int normal[] = {NORMAL, NORMAL, NORMAL};

    soon_task_queue_push(&queue, chain(0, 3, normal));
    ck_assert_int_eq(pop(), 0);
    soon_task_queue_push(&queue, chain(3, 3, normal));
    for (int i = 1; i < 6; i++)
        ck_assert_int_eq(pop(), i);
    soon_task_queue_push(&queue, chain(6, 1, normal));
    ck_assert_int_eq(pop(), 6);
}
END_TEST

START_TEST(a_chain_can_be_walked_before_it_is_pushed)
{
    static const int normal[] = {NORMAL, LOW, HIGH};
    soon_future *first = chain(0, 3, normal);
    size_t n = 0;

    for (soon_future *f = first; f; f = soon_future_next(f)) {
        soon_task task;

        soon_future_task(f, &task);
        ck_assert_int_eq(task.priority, normal[n]);
        ck_assert_int_eq(*(const int *)task.arg, (int)n);
        ck_assert_uint_eq((uintptr_t)task.arg % 16, 0);
        n++;
    }
    ck_assert_uint_eq(n, 3);
    soon_task_queue_push(&queue, first);
    ck_assert_int_eq(pop(), 2);
    ck_assert_int_eq(pop(), 0);
    ck_assert_int_eq(pop(), 1);
}
END_TEST

/* ---- ageing ---- */

/* Pops under an endless stream of one priority until number -2 comes out. */
static size_t pops_until_aged(int stream)
{
    size_t pops = 0;
    int got;

    do {
        push(1000, stream);
        got = pop();
        pops++;
        EXPECT(pops < 10000);
    } while (got == 1000);
    ck_assert_int_eq(got, -2);
    return pops;
}

START_TEST(one_passed_over_64_times_is_next)
{
    static const struct {
        int aged, stream;
    } cases[] = {{LOW, HIGH}, {LOW, NORMAL}, {NORMAL, HIGH}};

    /* Twice: being served starts the count anew. */
    for (int round = 0; round < 2; round++) {
        push(-2, cases[_i].aged);
        ck_assert_uint_eq(pops_until_aged(cases[_i].stream), 65);
        ck_assert_int_eq(pop(), 1000);
    }
}
END_TEST

START_TEST(an_empty_lane_does_not_age)
{
    for (int i = 0; i < 500; i++) {
        push(i, HIGH);
        ck_assert_int_eq(pop(), i);
    }
    push(-2, LOW);
    ck_assert_uint_eq(pops_until_aged(HIGH), 65);
    ck_assert_int_eq(pop(), 1000);
}
END_TEST

START_TEST(every_lane_gets_its_share)
{
    unsigned served[3] = {0};

    /* All three lanes always have work. */
    for (int i = 0; i < 3; i++) {
        push(LOW + i, LOW + i);
        push(LOW + i, LOW + i);
    }
    for (int i = 0; i < 65 * 20; i++) {
        int priority = pop();

        served[priority - LOW]++;
        push(priority, priority);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_uint_ge(served[i], 19);
    ck_assert_uint_ge(served[2], 65 * 20 - 2 * 21);
    while (queue.count)
        pop();
}
END_TEST

/* ---- sweeping ---- */

/* Pushes n tasks in all lanes and cancels those whose bit is set in dead. */
static void push_and_cancel(soon_future **held, int n, unsigned dead)
{
    for (int i = 0; i < n; i++) {
        soon_task task = {
            .fn = task_nothing, .arg = &i, .arg_len = sizeof i, .priority = i % 3 - 1};

        EXPECT(soon_submit_task(&shelf.base, &task, &held[i]) == 0);
        soon_task_queue_push(&queue, shelf.kept);
    }
    for (int i = 0; i < n; i++)
        if (dead >> i & 1)
            EXPECT(soon_future_cancel(held[i]));
}

static unsigned drop_swept(void)
{
    soon_future *f = soon_task_queue_sweep(&queue), *next;
    unsigned swept = 0;

    for (; f; f = next) {
        next = soon_future_next(f);
        EXPECT(soon_future_cancelled(f));
        soon_future_unref(f);
        swept++;
    }
    return swept;
}

START_TEST(a_sweep_takes_what_is_done_and_nothing_else)
{
    enum { N = 9 };
    soon_future *held[N];

    /* Every subset: heads, tails, whole lanes, none, all. */
    for (unsigned dead = 0; dead < 1u << N; dead++) {
        unsigned alive = N - (unsigned)__builtin_popcount(dead);

        push_and_cancel(held, N, dead);
        EXPECT(drop_swept() == N - alive);
        EXPECT(queue.count == alive);
        push(100, LOW); /* behind the others: the tails are right */
        for (int priority = 1; priority >= -1; priority--)
            for (int i = 0; i < N; i++)
                if (i % 3 - 1 == priority && !(dead >> i & 1))
                    EXPECT(pop() == i);
        EXPECT(pop() == 100);
        EXPECT(queue.count == 0);
        unref_all(held, N);
    }
}
END_TEST

START_TEST(a_pop_also_gives_what_is_done)
{
    soon_future *held[1];
    soon_future *f;

    push_and_cancel(held, 1, 1);
    f = soon_task_queue_pop(&queue);
    ck_assert_ptr_eq(f, held[0]);
    ck_assert(!soon_future_run(f));
    soon_future_unref(f);
    unref_all(held, 1);
}
END_TEST

/* ---- many at a time ---- */

/* Spends a chain whose numbers are to be first and those after it. */
static int spend_chain(soon_future *f, int first)
{
    int n = 0;

    while (f) {
        soon_future *next = soon_future_next(f);

        EXPECT(spend(f) == first + n);
        n++;
        f = next;
    }
    return n;
}

START_TEST(a_chain_off_the_queue_is_of_normal_ones_in_their_order)
{
    ck_assert_ptr_null(soon_task_queue_pop_chain(&queue, 5));
    for (int i = 0; i < 7; i++)
        push(i, SOON_PRIORITY_NORMAL);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 3), 0), 3);
    ck_assert_uint_eq(queue.count, 4);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 1), 3), 1);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 100), 4), 3);
    ck_assert_uint_eq(queue.count, 0);
    push(7, SOON_PRIORITY_NORMAL);
    ck_assert_int_eq(pop(), 7);
}
END_TEST

START_TEST(of_other_priorities_only_one_is_taken_at_a_time)
{
    for (int i = 0; i < 3; i++) {
        push(i, SOON_PRIORITY_HIGH);
        push(10 + i, SOON_PRIORITY_LOW);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 100), i), 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 100), 10 + i), 1);
}
END_TEST

START_TEST(each_of_a_chain_passes_the_lower_lanes_over)
{
    push(1000, SOON_PRIORITY_LOW);
    for (int i = 0; i < 100; i++)
        push(i, SOON_PRIORITY_NORMAL);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 32), 0), 32);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 32), 32), 32);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 32), 1000), 1);
    ck_assert_int_eq(spend_chain(soon_task_queue_pop_chain(&queue, 100), 64), 36);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("task_queue");
    TCase *tc = test_case(suite, "order");

    tcase_add_checked_fixture(tc, shelf_up, shelf_down);
    tcase_add_test(tc, an_empty_queue_gives_nothing);
    tcase_add_test(tc, higher_goes_first_and_equals_in_their_order);
    tcase_add_test(tc, a_chain_goes_behind_what_is_there);
    tcase_add_test(tc, a_chain_can_be_walked_before_it_is_pushed);
    tcase_add_loop_test(tc, one_passed_over_64_times_is_next, 0, 3);
    tcase_add_test(tc, an_empty_lane_does_not_age);
    tcase_add_test(tc, every_lane_gets_its_share);
    tcase_add_test(tc, a_sweep_takes_what_is_done_and_nothing_else);
    tcase_add_test(tc, a_pop_also_gives_what_is_done);
    tcase_add_test(tc, a_chain_off_the_queue_is_of_normal_ones_in_their_order);
    tcase_add_test(tc, of_other_priorities_only_one_is_taken_at_a_time);
    tcase_add_test(tc, each_of_a_chain_passes_the_lower_lanes_over);
    return suite;
}
