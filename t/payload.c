/* SPDX-License-Identifier: MIT */
#include "payload.h"

const size_t payload_sizes[SIZES] = {
    0,         1,       15,  16,      48,      49,           127,         128,
    129,       255,     256, 257,     4 * KiB, 64 * KiB - 1, 64 * KiB,    64 * KiB + 1,
    128 * KiB, MiB - 1, MiB, MiB + 1, 2 * MiB, 4 * MiB,      4 * MiB + 1, 16 * MiB};

/* ---- patterns ---- */

enum { STROKE = 64 };

/* Strokes at a time and not bytes, so that it does not take the sanitizers
 * most of a test to watch. */
static unsigned char colours[256][256];

__attribute__((constructor)) static void mix_colours(void)
{
    for (unsigned c = 0; c < 256; c++)
        for (unsigned i = 0; i < 256; i++)
            colours[c][i] = (unsigned char)(c ^ i);
}

static const unsigned char *next_stroke(uint32_t *x, size_t at)
{
    *x = *x * 1664525u + 1013904223u;
    return &colours[*x >> 24][at % 256];
}

static size_t stroke_length(size_t left)
{
    return left < STROKE ? left : STROKE;
}

void paint(unsigned char *bytes, size_t len, unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;

    for (size_t at = 0; at < len; at += STROKE)
        memcpy(bytes + at, next_stroke(&x, at), stroke_length(len - at));
}

bool is_painted(const unsigned char *bytes, size_t len, unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;

    for (size_t at = 0; at < len; at += STROKE)
        if (memcmp(bytes + at, next_stroke(&x, at), stroke_length(len - at)) != 0)
            return false;
    return true;
}

void assert_painted(soon_future *f, size_t len, unsigned seed)
{
    const void *value = NULL;
    size_t got = ~len;

    assert_ok(soon_future_value(f, SOON_FOREVER, &value, &got));
    ck_assert_uint_eq(got, len);
    ck_assert_ptr_nonnull(value);
    ck_assert_uint_eq((uintptr_t)value % 16, 0);
    ck_assert_msg(is_painted(value, len, seed), "%zu bytes with seed %u differ", len, seed);
}

/* ---- tasks ---- */

struct order {
    size_t len;
    unsigned seed;
    bool in_place; /* by soon_return_buffer() */
};

/* Gives what was ordered. */
static int task_paint(soon_call *call, const void *arg, size_t arg_len)
{
    struct order order;
    unsigned char *bytes;
    int error = 0;

    REQUIRE(arg_len == sizeof order);
    memcpy(&order, arg, sizeof order);
    bytes = order.in_place ? soon_return_buffer(call, order.len) : malloc(order.len + 1);
    if (!bytes)
        return soon_fail(call, -ENOMEM, "no room for %zu bytes", order.len);
    REQUIRE(!order.in_place || (uintptr_t)bytes % 16 == 0);
    paint(bytes, order.len, order.seed);
    if (!order.in_place) {
        error = soon_return(call, bytes, order.len);
        free(bytes);
    }
    return error;
}

soon_future *submit_order(soon_executor *ex, size_t len, unsigned seed, bool in_place)
{
    struct order order;

    memset(&order, 0, sizeof order);
    order.len = len;
    order.seed = seed;
    order.in_place = in_place;
    return submit(ex, task_paint, &order, sizeof order);
}

unsigned seed_of(size_t len)
{
    return (unsigned)(len % 1000);
}

int task_check_and_echo(soon_call *call, const void *arg, size_t arg_len)
{
    if ((uintptr_t)arg % 16 != 0 || (arg_len == 0) != (arg == NULL))
        return soon_fail(call, -EFAULT, "%zu bytes at %p", arg_len, arg);
    if (!is_painted(arg, arg_len, seed_of(arg_len)))
        return soon_fail(call, -EILSEQ, "the %zu bytes differ", arg_len);
    return soon_return(call, arg, arg_len);
}

unsigned char *painted(size_t len)
{
    unsigned char *bytes = malloc(len + 1);

    REQUIRE(bytes);
    paint(bytes, len, seed_of(len));
    return bytes;
}

soon_future *submit_painted(soon_executor *ex, size_t len)
{
    unsigned char *bytes = painted(len);
    soon_future *f = submit(ex, task_check_and_echo, bytes, len);

    memset(bytes, 0xee, len);
    free(bytes);
    return f;
}
