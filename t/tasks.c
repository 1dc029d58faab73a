/* SPDX-License-Identifier: MIT */
/* Everyday tasks, short forms and assertions on futures. */
#include "support.h"

#include "core/future.h"

#include <sched.h>
#include <sys/mman.h>

/* ---- everyday tasks ---- */

int task_echo(soon_call *call, const void *arg, size_t arg_len)
{
    return soon_return(call, arg, arg_len);
}

int task_nothing(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    (void)arg;
    (void)arg_len;
    return 0;
}

int task_square(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    if (arg_len != sizeof n)
        return soon_fail(call, -EINVAL, "want an int, got %zu bytes", arg_len);
    memcpy(&n, arg, sizeof n);
    n *= n;
    return soon_return(call, &n, sizeof n);
}

int task_fail(soon_call *call, const void *arg, size_t arg_len)
{
    struct failure failure;

    REQUIRE(arg_len == sizeof failure);
    memcpy(&failure, arg, sizeof failure);
    return soon_fail(call, failure.code, "%s", failure.message);
}

int task_hold(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    bell_ring(hold.started);
    gate_pass(hold.release);
    return soon_return(call, &hold.value, sizeof hold.value);
}

struct hold hold_make(void)
{
    return (struct hold){.started = bell_make(), .release = gate_make()};
}

void hold_free(struct hold *hold)
{
    bell_free(hold->started);
    gate_free(hold->release);
}

int task_until_cancelled(soon_call *call, const void *arg, size_t arg_len)
{
    struct bell started;

    REQUIRE(arg_len == sizeof started);
    memcpy(&started, arg, sizeof started);
    bell_ring(started);
    while (!soon_call_cancelled(call))
        sched_yield();
    return -ECANCELED;
}

int task_count(soon_call *call, const void *arg, size_t arg_len)
{
    shared_count *count;

    (void)call;
    REQUIRE(arg_len == sizeof count);
    memcpy(&count, arg, sizeof count);
    atomic_fetch_add(count, 1);
    return 0;
}

void order_log_add(struct order_log *log, int value)
{
    unsigned at = atomic_fetch_add(&log->used, 1);

    REQUIRE(at < sizeof log->entry / sizeof log->entry[0]);
    log->entry[at] = value;
}

int task_note(soon_call *call, const void *arg, size_t arg_len)
{
    struct order_note note;

    (void)call;
    REQUIRE(arg_len == sizeof note);
    memcpy(&note, arg, sizeof note);
    order_log_add(note.log, note.value);
    return 0;
}

/* ---- short forms ---- */

soon_future *submit(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len)
{
    soon_future *f = NULL;

    assert_ok(soon_submit(ex, fn, arg, arg_len, &f));
    ck_assert_ptr_nonnull(f);
    return f;
}

soon_future *submit_int(soon_executor *ex, soon_fn *fn, int value)
{
    return submit(ex, fn, &value, sizeof value);
}

soon_future *promise(void)
{
    soon_future *f = NULL;

    assert_ok(soon_future_new(&f));
    ck_assert_ptr_nonnull(f);
    return f;
}

void unref_all(soon_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        soon_future_unref(futures[i]);
}

soon_future *sample_future(enum sample which)
{
    const int answer = 42;
    soon_future *f = promise();

    switch (which) {
    case SAMPLE_PENDING:
        break;
    case SAMPLE_RUNNING:
        ck_assert(soon_future_set_running_or_notify_cancel(f));
        break;
    case SAMPLE_CANCELLED:
        ck_assert(soon_future_cancel(f));
        break;
    case SAMPLE_RESULT:
        assert_ok(soon_future_set_result(f, &answer, sizeof answer));
        break;
    case SAMPLE_FAILED:
        assert_ok(soon_future_set_error(f, -EIO, "broken"));
        break;
    }
    return f;
}

/* ---- assertions ---- */

void assert_result_int(soon_future *f, int expected)
{
    int got = ~expected;

    assert_ok(soon_future_result(f, SOON_FOREVER, &got, sizeof got));
    ck_assert_int_eq(got, expected);
}

void assert_result_bytes(soon_future *f, const void *expected, size_t len)
{
    const void *value = NULL;
    size_t got_len = ~len;

    assert_ok(soon_future_value(f, SOON_FOREVER, &value, &got_len));
    ck_assert_uint_eq(got_len, len);
    ck_assert_ptr_nonnull(value);
    ck_assert_msg(len == 0 || memcmp(value, expected, len) == 0, "the %zu bytes differ", len);
}

void assert_error(soon_future *f, int code, enum soon_origin origin, const char *message)
{
    soon_error error;

    memset(&error, 0xee, sizeof error);
    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_int_eq(error.code, code);
    ck_assert_int_eq(error.origin, (int)origin);
    ck_assert_int_eq(error.signal, 0);
    ck_assert_int_eq(error.exit_code, 0);
    ck_assert_ptr_nonnull(error.message);
    if (message)
        ck_assert_str_eq(error.message, message);
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), code);
}

void assert_stats_add_up(soon_executor *ex, uint64_t submitted)
{
    soon_stats stats;

    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.running, 0);
    ck_assert_uint_eq(stats.finished + stats.failed + stats.cancelled + stats.timed_out, submitted);
}

void release_under_sleeper(void *data)
{
    struct watch *watch = data;
    uint32_t state;

    while (!((state = soon__state(watch->f)) & SOON__WAITERS))
        sched_yield();
    watch->patient = state & SOON__PATIENT;
    gate_open(watch->release);
}
