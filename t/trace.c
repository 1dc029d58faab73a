/* SPDX-License-Identifier: MIT */
#include "trace.h"

void record(soon_future *f, void *data)
{
    struct entry *entry = data;
    struct trace *trace = entry->trace;

    REQUIRE(trace->used < 64);
    REQUIRE(soon_future_done(f));
    trace->tag[trace->used++] = entry->tag;
    trace->state = soon_future_state(f);
    trace->thread = pthread_self();
}

void trace_add(soon_future *f, struct entry *entry)
{
    assert_ok(soon_future_add_done_callback(f, record, entry));
}

void assert_trace(const struct trace *trace, const int *tags, unsigned n)
{
    ck_assert_uint_eq(trace->used, n);
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(trace->tag[i], tags[i]);
}

static void end_with_result(void *data)
{
    REQUIRE(soon_future_set_result(data, NULL, 0) == 0);
}

static void end_with_error(void *data)
{
    REQUIRE(soon_future_set_error(data, -EIO, NULL) == 0);
}

static void end_with_cancel(void *data)
{
    REQUIRE(soon_future_cancel(data));
}

void (*const ends[ENDS])(void *data) = {end_with_result, end_with_error, end_with_cancel};
