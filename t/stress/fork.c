/* SPDX-License-Identifier: MIT */
/*
 * The host forks again and again while other threads submit, wait, and add and
 * remove callbacks. A child must never hang on a lock that some thread of the
 * parent held, and the parent must not notice.
 */
#include "stress.h"

#include <signal.h>
#include <sys/wait.h>

enum { BUSY = 3 };

static atomic_bool over;
static soon_executor *ex, *loop;
static soon_future *shared; /* pending for as long as the program runs */
static atomic_ullong callbacks;

static int twice(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned value;

    REQUIRE_EQ(arg_len, sizeof value);
    memcpy(&value, arg, sizeof value);
    value *= 2;
    return soon_return(call, &value, sizeof value);
}

static void count(soon_future *f, void *data)
{
    (void)f, (void)data;
    atomic_fetch_add(&callbacks, 1);
}

static void use_pool(soon_executor *pool, unsigned n)
{
    unsigned value;
    soon_future *f;

    REQUIRE_EQ(soon_submit(pool, twice, &n, sizeof n, &f), 0);
    REQUIRE_EQ(soon_future_add_done_callback(f, count, NULL), 0);
    REQUIRE_EQ(soon_future_result(f, SOON_FOREVER, &value, sizeof value), 0);
    REQUIRE_EQ(value, 2 * n);
    soon_future_unref(f);
}

static void *be_busy(void *arg)
{
    stress_rng rng = stress_rng_new((uint64_t)(uintptr_t)arg);

    for (unsigned n = 0; !atomic_load(&over); n++) {
        char buffer[2000] = "";

        use_pool(ex, n);
        REQUIRE_EQ(soon_future_add_done_callback(shared, count, &rng), 0);
        REQUIRE_EQ(soon_future_wait(shared, stress_random(&rng, 1000)), -ETIMEDOUT);
        REQUIRE(soon_future_remove_done_callback(shared, count, &rng));
        REQUIRE_EQ(soon_submit(loop, twice, buffer, 0, NULL), 0);
        REQUIRE(soon_future_cancel(shared) == false);
    }
    return NULL;
}

/* In the child, where only this thread is left. */
static void be_child(soon_future *pending)
{
    unsigned n = 21;
    soon_stats stats;
    soon_executor *fresh;

    alarm(30);
    REQUIRE_EQ(soon_submit(ex, twice, &n, sizeof n, NULL), -ENOTRECOVERABLE);
    REQUIRE_EQ(soon_executor_stats(ex, &stats), -ENOTRECOVERABLE);
    REQUIRE_EQ(soon_loop_run(loop, 0, SOON_FOREVER), -ENOTRECOVERABLE);
    REQUIRE_EQ(soon_loop_fd(loop), -ENOTRECOVERABLE);
    REQUIRE_EQ(soon_future_wait(pending, SOON_FOREVER), -ENOTRECOVERABLE);
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, SOON_CANCEL_FUTURES), 0);
    soon_future_unref(pending);
    soon_executor_unref(ex);
    /* The thread sanitizer cannot follow threads that such a child starts. */
    if (STRESS_THREAD_SANITIZER)
        REQUIRE_EQ(soon_inline_new(&fresh), 0);
    else
        fresh = stress_pool(2);
    for (n = 0; n < 20; n++)
        use_pool(fresh, n);
    stress_pool_end(fresh);
    _exit(0);
}

static void fork_once(void)
{
    soon_future *pending;
    pid_t child;
    int status;

    /* Nobody runs the loop, so this one is pending in the child for certain. */
    REQUIRE_EQ(soon_submit(loop, twice, NULL, 0, &pending), 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        be_child(pending);
    while (waitpid(child, &status, 0) != child)
        REQUIRE_EQ(errno, EINTR);
    REQUIRE_EQ(status, 0);
    REQUIRE(soon_future_cancel(pending));
    soon_future_unref(pending);
}

int main(void)
{
    pthread_t threads[BUSY];
    uint64_t forks = 0;
    soon_stats stats;

    stress_begin("stress/fork");
    ex = stress_pool(2);
    REQUIRE_EQ(soon_loop_new(&loop), 0);
    REQUIRE_EQ(soon_future_new(&shared), 0);
    REQUIRE(soon_future_set_running_or_notify_cancel(shared));
    for (uintptr_t i = 0; i < BUSY; i++)
        stress_spawn(&threads[i], be_busy, (void *)i);
    for (; stress_more(); forks++)
        fork_once();
    atomic_store(&over, true);
    for (unsigned i = 0; i < BUSY; i++)
        stress_join(threads[i]);
    /* Whoever waited may have woken before the callbacks ran. */
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    REQUIRE_EQ(stats.failed + stats.cancelled, 0);
    REQUIRE_EQ(atomic_load(&callbacks), stats.finished);
    REQUIRE_EQ(soon_shutdown(loop, 0, SOON_CANCEL_FUTURES), 0);
    soon_executor_unref(loop);
    soon_future_unref(shared);
    stress_pool_end(ex);
    return stress_end("%llu forks under %d busy threads", (unsigned long long)forks, BUSY);
}
