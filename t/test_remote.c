/* SPDX-License-Identifier: MIT */
/*
 * A future whose task runs where the library does not see it: what it is in,
 * who may cancel and kill it, and how long it and its executor live.
 */
#include "remote_cases.h"

#include "os/inject.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static soon_executor *ex;

static void open_far(void)
{
    ex = far_open(0, SOON_BLOCK);
}

struct far_slot *begin(void)
{
    struct far_slot *slot = far_begin();

    ck_assert_msg(slot, "nothing was handed out");
    return slot;
}

void expect_asked(unsigned recalls, unsigned recalled, unsigned asks)
{
    ck_assert_uint_eq(atomic_load(&far.recalls), recalls);
    ck_assert_uint_eq(atomic_load(&far.recalled), recalled);
    ck_assert_uint_eq(atomic_load(&far.withdrawn), recalled);
    ck_assert_uint_eq(atomic_load(&far.asks), asks);
}

void expect_killed(soon_future *f, const char *message)
{
    soon_error error;

    assert_ok(soon_future_error(f, 0, &error));
    ck_assert_int_eq(error.code, -EOWNERDEAD);
    ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
    ck_assert_int_eq(error.signal, SIGKILL);
    ck_assert_int_eq(error.exit_code, 0);
    ck_assert_str_eq(error.message, message);
}

/* ---- lives ---- */

START_TEST(init_wants_every_remote_op)
{
    const struct soon_executor_limits limits = {.workers = 1};
    struct soon_executor_ops ops = far_ops;
    soon_executor made;

    assert_ok(soon_executor_init(&made, &ops, &limits));
    soon_executor_fini(&made);
#define WITHOUT(op)                                                       \
    ops = far_ops;                                                        \
    ops.op = NULL;                                                        \
    ck_assert_int_eq(soon_executor_init(&made, &ops, &limits), -EINVAL);  \
    ops.flags = 0;                                                        \
    assert_ok(soon_executor_init(&made, &ops, &limits)); /* not needed */ \
    soon_executor_fini(&made)
    WITHOUT(look);
    WITHOUT(recall);
    WITHOUT(ask);
    WITHOUT(progress);
    WITHOUT(give_back);
#undef WITHOUT
    ops = far_ops;
    ops.find = NULL;
    assert_ok(soon_executor_init(&made, &ops, &limits));
    soon_executor_fini(&made);
    ops.flags |= SOON_BACKEND_LOCAL; /* where do they run? */
    ck_assert_int_eq(soon_executor_init(&made, &ops, &limits), -EINVAL);
}
END_TEST

START_TEST(a_future_keeps_its_executor)
{
    char value[] = "lent";

    open_far();
    soon_future *lent = submit_int(ex, task_square, 7), *copied = submit_int(ex, task_square, 8);
    assert_ok(far_lend(begin(), value, sizeof value, &far));
    ck_assert_uint_eq(far_run(), 1);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    assert_result_int(copied, 64);
    soon_future_unref(copied);
    ck_assert_uint_eq(atomic_load(&far.destroyed), 0);
    ck_assert(!soon_future_cancel(lent));
    ck_assert_int_eq(soon_future_kill(lent), -EALREADY);
    assert_result_bytes(lent, "lent", 5);
    soon_future_unref(lent); /* first given back, then destroyed: far_give_back() looks */
    ck_assert_uint_eq(atomic_load(&far.given_back), 1);
    ck_assert_uint_eq(atomic_load(&far.destroyed), 1);
    far_free();
}
END_TEST

START_TEST(a_refused_future_keeps_nothing)
{
    const soon_task tasks[3] = {{.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};
    soon_future *out[3];

    open_far();
    atomic_store(&far.refusal, -EAGAIN);
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &out[0]), -EAGAIN);
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    ck_assert_int_eq(soon_submit_many(ex, tasks, 3, out), -EAGAIN);
    far_close();
}
END_TEST

/* Each allocation of a submit fails in turn; far_close() sees if a hold was
 * left over or dropped twice. */
START_TEST(without_memory_nothing_is_kept)
{
    const char large[500] = {0};
    const soon_task task = {.fn = task_echo,
                            .arg = large,
                            .arg_len = sizeof large,
                            .name = "large",
                            .timeout = SOON_SECONDS(60)};
    const soon_task tasks[2] = {task, task};
    soon_future *out[2] = {NULL, NULL};
    int error = -ENOMEM, failures = 0;

    open_far();
    for (long n = 1; error; n++, failures++) {
        soon__inject_after(SOON__INJECT_ALLOC, n);
        error = soon_submit_many(ex, tasks, 2, out);
        ck_assert(error == 0 || error == -ENOMEM);
    }
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    ck_assert_int_eq(failures,
                     9); /* two futures, each with argument, extra and name; and success */
    ck_assert_uint_eq(far_run(), 2);
    assert_result_bytes(out[0], large, sizeof large);
    unref_all(out, 2);
    far_close();
}
END_TEST

/* In a child the executor's memory is a copy that nothing works for. */
static int use_inherited(soon_future **f)
{
    unsigned looks = atomic_load(&far.looks);
    bool fine = soon_future_state(f[0]) == SOON_PENDING && !soon_future_running(f[0]) &&
                soon_future_wait(f[0], SOON_FOREVER) == -ENOTRECOVERABLE &&
                soon_future_kill(f[1]) == -ENOTRECOVERABLE && soon_future_cancel(f[0]) &&
                !soon_future_cancel(f[1]);
    fine = fine && soon_submit(ex, task_nothing, NULL, 0, NULL) == -ENOTRECOVERABLE &&
           strstr(soon_last_error(), "fork");
    for (int i = 0; i < 3; i++)
        soon_future_unref(f[i]);
    soon_executor_unref(ex);
    return fine && looks == atomic_load(&far.looks) && atomic_load(&far.recalls) == 0 &&
                   atomic_load(&far.asks) == 0 && atomic_load(&far.given_back) == 0 &&
                   atomic_load(&far.destroyed) == 0
               ? 0
               : 1;
}

START_TEST(a_child_touches_nothing_of_the_backend)
{
    soon_future *f[3];
    int status = -1;

    open_far();
    f[0] = submit_int(ex, task_square, 1);
    f[1] = submit_int(ex, task_square, 2);
    f[2] = submit_int(ex, task_square, 3);
    struct far_slot *first = begin(), *second = begin();
    assert_ok(far_lend(begin(), "abc", 4, &far));
    ck_assert(soon_future_running(f[1]));
    pid_t child = fork();
    if (child == 0)
        _exit(use_inherited(f));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    far_end(first);
    far_end(second);
    unref_all(f, 3);
    ck_assert_uint_eq(atomic_load(&far.given_back), 1);
    far_close();
}
END_TEST

/* ---- what it is in ---- */

START_TEST(who_looks_is_told_that_it_runs)
{
    soon_stats stats;

    open_far();
    soon_future *f = submit_int(ex, task_square, 3), *g = submit_int(ex, task_square, 4);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    struct far_slot *slot = begin();
    soon_future *begun = slot->future == f ? f : g, *waits = begun == f ? g : f;
    ck_assert(soon_future_unclaimed(begun)); /* a glance, which asks nobody */
    ck_assert_int_eq(soon_future_state(begun), SOON_RUNNING);
    ck_assert(soon_future_running(begun) && !soon_future_running(waits));
    ck_assert(!soon_future_unclaimed(begun));
    ck_assert(!soon_future_done(begun) && !soon_future_cancelled(begun));
    struct far_slot *other = begin();
    assert_ok(soon_executor_stats(ex, &stats)); /* looks at all of them */
    ck_assert_uint_eq(stats.running, 2);
    ck_assert_uint_eq(stats.pending, 0);
    far_end(slot);
    far_end(other);
    unsigned looks = atomic_load(&far.looks);
    ck_assert_int_eq(soon_future_state(f), SOON_FINISHED);
    ck_assert_uint_eq(atomic_load(&far.looks), looks);
    assert_stats_add_up(ex, 2);
    soon_future_unref(f);
    soon_future_unref(g);
    far_close();
}
END_TEST

/* ---- cancel ---- */

START_TEST(cancel_takes_back_what_has_not_begun)
{
    open_far();
    soon_future *handed_out = submit_int(ex, task_square, 1);
    far.hand_out = false;
    soon_future *queued = submit_int(ex, task_square, 2);
    ck_assert(soon_future_cancel(handed_out) && soon_future_cancel(queued));
    ck_assert(soon_future_cancel(queued)); /* no more to be asked */
    expect_asked(2, 2, 0);
    ck_assert_ptr_null(far_begin());
    ck_assert_int_eq(soon_future_state(queued), SOON_CANCELLED);
    assert_stats_add_up(ex, 2);
    far.hand_out = true;
    assert_ok(soon_shutdown(ex, 0, SOON_CANCEL_FUTURES)); /* drops what is stale */
    soon_future_unref(handed_out);
    soon_future_unref(queued);
    far_close();
}
END_TEST

START_TEST(cancel_of_one_that_has_begun_asks_it_to_stop)
{
    soon_stats stats;

    open_far();
    soon_future *f = submit_int(ex, task_square, 5);
    struct far_slot *slot = begin();
    ck_assert(!soon_future_cancel(f));
    expect_asked(1, 0, 1);
    ck_assert(slot->asked);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.running, 1);
    ck_assert(!soon_future_cancel(f)); /* known to run: asked, and not recalled */
    expect_asked(1, 0, 2);
    far_end(slot);
    assert_result_int(f, 25);
    assert_stats_add_up(ex, 1);
    soon_future_unref(f);
    far_close();
}
END_TEST

START_TEST(a_shutdown_that_cancels_leaves_what_has_begun)
{
    soon_future *f[FAR_SLOTS + 2];

    open_far();
    for (int i = 0; i < FAR_SLOTS + 2; i++)
        f[i] = submit_int(ex, task_square, i);
    struct far_slot *slot = begin();
    soon_future *begun = slot->future;
    assert_ok(soon_shutdown(ex, 0, SOON_CANCEL_FUTURES));
    for (int i = 0; i < FAR_SLOTS + 2; i++)
        ck_assert(soon_future_cancelled(f[i]) == (f[i] != begun));
    ck_assert(!slot->asked);
    far_end(slot);
    ck_assert_int_eq(soon_future_state(begun), SOON_FINISHED);
    unref_all(f, FAR_SLOTS + 2);
    far_close();
}
END_TEST

/* ---- results from elsewhere than the backend ---- */

START_TEST(who_brings_a_result_takes_the_task_back)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 1), *g = submit_int(ex, task_square, 2);
    assert_ok(soon_future_set_result(f, "kept", 5));
    assert_ok(soon_future_set_error(g, -EIO, "kept, too"));
    expect_asked(2, 2, 0);
    ck_assert_ptr_null(far_begin());
    assert_result_bytes(f, "kept", 5);
    assert_error(g, -EIO, SOON_FROM_TASK, "kept, too");
    ck_assert(!soon_future_cancel(f));
    ck_assert_int_eq(soon_future_set_result(f, NULL, 0), -EALREADY);
    assert_stats_add_up(ex, 2);
    soon_future_unref(f);
    soon_future_unref(g);
    far_close();
}
END_TEST

START_TEST(who_brings_a_result_too_late_gets_ebusy)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 4);
    struct far_slot *slot = begin();
    ck_assert_int_eq(soon_future_set_result(f, NULL, 0), -EBUSY);
    expect_asked(1, 0, 0);
    ck_assert_int_eq(soon_future_set_error(f, -EIO, NULL), -EBUSY); /* known to run now */
    expect_asked(1, 0, 0);
    ck_assert(soon_future_running(f));
    far_end(slot);
    assert_result_int(f, 16);
    ck_assert_int_eq(soon_future_set_result(f, NULL, 0), -EALREADY);
    assert_stats_add_up(ex, 1);
    soon_future_unref(f);
    far_close();
}
END_TEST

/* ---- kill ---- */

START_TEST(kill_cancels_what_has_not_begun)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 1);
    assert_ok(soon_future_kill(f));
    ck_assert(soon_future_cancelled(f));
    ck_assert_int_eq(soon_future_kill(f), -EALREADY);
    expect_asked(1, 1, 0);
    ck_assert_uint_eq(atomic_load(&far.kills), 0);
    soon_future_unref(f);
    far_close();
}
END_TEST

START_TEST(kill_ends_what_has_begun)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 1);
    struct far_slot *slot = begin();
    assert_ok(soon_future_kill(f));
    ck_assert_uint_eq(atomic_load(&far.kills), 1);
    expect_asked(1, 0, 0); /* it is not asked to stop */
    expect_killed(f, "its worker was killed");
    ck_assert_int_eq(soon_future_kill(f), -EALREADY);
    far_end(slot); /* what it returns all the same comes too late */
    expect_killed(f, "its worker was killed");
    assert_stats_add_up(ex, 1);
    soon_future_unref(f);
    far_close();
}
END_TEST

START_TEST(kill_needs_memory_and_copes_without_a_message)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 9);
    struct far_slot *slot = begin();
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_int_eq(soon_future_kill(f), -ENOMEM);
    ck_assert_int_eq(soon_future_state(f), SOON_RUNNING);
    soon__inject_after(SOON__INJECT_ALLOC, 2);
    assert_ok(soon_future_kill(f));
    ck_assert(soon__inject_fired(SOON__INJECT_ALLOC));
    expect_killed(f, "its worker died");
    far_end(slot);
    soon_future_unref(f);
    far_close();
}
END_TEST

/* ---- progress ---- */

static void expect_progress(soon_future *f, uint64_t done, uint64_t total)
{
    uint64_t d = 99, t = 99;

    assert_ok(soon_future_progress(f, &d, &t));
    ck_assert_uint_eq(d, done);
    ck_assert_uint_eq(t, total);
    assert_ok(soon_future_progress(f, NULL, NULL));
}

START_TEST(progress_is_the_backends_while_it_runs)
{
    open_far();
    soon_future *f = submit_int(ex, task_square, 2);
    expect_progress(f, 0, 0);
    struct far_slot *slot = begin();
    expect_progress(f, 0, 0);
    slot->port.progress(&slot->port, 3, 10);
    expect_progress(f, 3, 10); /* also before anybody has looked */
    ck_assert(soon_future_running(f));
    slot->port.progress(&slot->port, 4, 10);
    expect_progress(f, 4, 10);
    far_end(slot);
    expect_progress(f, 4, 10); /* left by soon_future_set_progress() */
    soon_future_set_progress(f, 5, 0);
    expect_progress(f, 5, 0);
    soon_future_unref(f);
    far_close();
}
END_TEST

START_TEST(progress_is_forgotten_without_memory)
{
    soon_future *f = promise();

    soon__inject_after(SOON__INJECT_ALLOC, 1);
    soon_future_set_progress(f, 1, 2);
    ck_assert(soon__inject_fired(SOON__INJECT_ALLOC));
    expect_progress(f, 0, 0);
    soon_future_set_progress(f, 1, 2);
    expect_progress(f, 1, 2);
    soon_future_unref(f);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("remote");
    TCase *lives = test_case(suite, "lives"), *cancel = test_case(suite, "cancel"),
          *others = test_case(suite, "kill and progress");

    tcase_add_test(lives, init_wants_every_remote_op);
    tcase_add_test(lives, a_future_keeps_its_executor);
    tcase_add_test(lives, a_refused_future_keeps_nothing);
    tcase_add_test(lives, without_memory_nothing_is_kept);
    tcase_add_test(lives, a_child_touches_nothing_of_the_backend);
    tcase_add_test(lives, who_looks_is_told_that_it_runs);
    tcase_add_test(cancel, cancel_takes_back_what_has_not_begun);
    tcase_add_test(cancel, cancel_of_one_that_has_begun_asks_it_to_stop);
    tcase_add_test(cancel, a_shutdown_that_cancels_leaves_what_has_begun);
    tcase_add_test(cancel, who_brings_a_result_takes_the_task_back);
    tcase_add_test(cancel, who_brings_a_result_too_late_gets_ebusy);
    tcase_add_test(others, kill_cancels_what_has_not_begun);
    tcase_add_test(others, kill_ends_what_has_begun);
    tcase_add_test(others, kill_needs_memory_and_copes_without_a_message);
    tcase_add_test(others, progress_is_the_backends_while_it_runs);
    tcase_add_test(others, progress_is_forgotten_without_memory);
    add_answer_cases(suite);
    add_submit_cases(suite);
    add_call_cases(suite);
    add_map_cases(suite);
    add_race_cases(suite);
    return suite;
}
