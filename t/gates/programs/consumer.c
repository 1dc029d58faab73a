/* SPDX-License-Identifier: MIT */
/*
 * Somebody else's program, built against the installed library through
 * pkg-config: a future, as_completed, a map and a loop, each with its result
 * verified. Leaves with 0 only if all of them were right.
 */
#include <soon.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 100 };

static int square(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    if (arg_len != sizeof n)
        return soon_fail(call, -EINVAL, "want an int, got %zu bytes", arg_len);
    memcpy(&n, arg, sizeof n);
    n *= n;
    return soon_return(call, &n, sizeof n);
}

static bool right(const char *what, bool holds)
{
    printf("consumer: %s: %s\n", what, holds ? "right" : "WRONG");
    return holds;
}

static bool future_has_its_result(soon_executor *pool)
{
    soon_future *f;
    int n = 7;
    int result = 0;

    if (soon_submit(pool, square, &n, sizeof n, &f) != 0)
        return false;
    bool ok = soon_future_result(f, SOON_FOREVER, &result, sizeof result) == 0 && result == 49;
    soon_future_unref(f);
    return ok;
}

static bool failed_future_has_its_message(soon_executor *pool)
{
    soon_future *f;
    soon_error error;

    if (soon_submit(pool, square, "x", 1, &f) != 0)
        return false;
    bool ok = soon_future_error(f, SOON_FOREVER, &error) == 0 && error.code == -EINVAL &&
              error.origin == SOON_FROM_TASK &&
              strcmp(error.message, "want an int, got 1 bytes") == 0;
    soon_future_unref(f);
    return ok;
}

static bool as_completed_yields_each_once(soon_executor *pool)
{
    soon_future *futures[COUNT];
    soon_as_completed *it;
    soon_future *f;
    long sum = 0;
    int seen = 0;

    for (int i = 0; i < COUNT; i++) {
        if (soon_submit(pool, square, &i, sizeof i, &futures[i]) != 0)
            return false;
    }
    if (soon_as_completed_new(futures, COUNT, &it) != 0)
        return false;
    while (soon_as_completed_next(it, SOON_FOREVER, &f) == 1) {
        int result = 0;

        if (soon_future_result(f, 0, &result, sizeof result) == 0)
            sum += result;
        seen++;
        soon_future_unref(f);
    }
    soon_as_completed_free(it);
    for (int i = 0; i < COUNT; i++)
        soon_future_unref(futures[i]);
    return seen == COUNT && sum == 328350;
}

static bool map_keeps_the_order(soon_executor *pool)
{
    int items[COUNT];
    int results[COUNT];

    for (int i = 0; i < COUNT; i++)
        items[i] = i;
    if (soon_map(pool, square, items, sizeof items[0], COUNT, results, sizeof results[0], NULL) !=
        0)
        return false;
    for (int i = 0; i < COUNT; i++) {
        if (results[i] != i * i)
            return false;
    }
    return true;
}

static void count_call(soon_future *f, void *data)
{
    (void)f;
    ++*(int *)data;
}

/* The pool's result arrives in this thread, through the loop's descriptor. */
static bool loop_brings_the_callback_home(soon_executor *pool)
{
    soon_executor *loop;
    soon_future *f;
    int n = 5;
    int calls = 0;

    if (soon_loop_new(&loop) != 0)
        return false;
    if (soon_submit(pool, square, &n, sizeof n, &f) != 0)
        return false;
    bool ok = soon_future_add_done_callback_on(f, loop, count_call, &calls) == 0;
    struct pollfd ready = {.fd = soon_loop_fd(loop), .events = POLLIN};
    ok = ok && poll(&ready, 1, 60 * 1000) == 1 && calls == 0;
    ok = ok && soon_loop_run(loop, 0, 0) == 1 && calls == 1;
    soon_future_unref(f);
    ok = soon_shutdown(loop, SOON_FOREVER, 0) == 0 && ok;
    soon_executor_unref(loop);
    return ok;
}

int main(void)
{
    soon_executor *pool;
    bool ok = right("the library is the headers' version", !strcmp(soon_version(), SOON_VERSION));

    if (!right("a pool is made", soon_thread_pool_new(NULL, &pool) == 0))
        return 1;
    ok &= right("a future has its result", future_has_its_result(pool));
    ok &= right("a failed future has its message", failed_future_has_its_message(pool));
    ok &= right("as_completed yields each once", as_completed_yields_each_once(pool));
    ok &= right("a map keeps the order", map_keeps_the_order(pool));
    ok &= right("a loop brings the callback home", loop_brings_the_callback_home(pool));
    ok &= right("the pool shuts down", soon_shutdown(pool, SOON_FOREVER, 0) == 0);
    soon_executor_unref(pool);
    puts(SOON_VERSION);
    return ok ? 0 : 1;
}
