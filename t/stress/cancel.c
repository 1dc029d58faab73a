/* SPDX-License-Identifier: MIT */
/*
 * Cancelling, running, waiting, and adding and removing callbacks race for the
 * same futures. Afterwards each future is either cancelled and never ran, or
 * finished and ran once; each callback was either removed or called, once.
 */
#include "stress.h"

enum { FUTURES = 256, CALLBACKS = 4, ROLES = 5 };

static atomic_uint runs[FUTURES];

/* One added callback. taken_back is its thread's own until the round is over. */
struct hook {
    atomic_uint calls;
    bool added, taken_back;
};

static struct round {
    soon_executor *ex;
    soon_future *futures[FUTURES];
    struct hook hooks[2][FUTURES][CALLBACKS];
    stress_rng rngs[ROLES];
    pthread_barrier_t start;
    sem_t go;
} round_;

static int run(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned index;

    REQUIRE_EQ(arg_len, sizeof index);
    memcpy(&index, arg, sizeof index);
    REQUIRE_EQ(atomic_fetch_add(&runs[index], 1), 0);
    stress_spin(index % 8 * 500);
    return soon_return(call, &index, sizeof index);
}

static void on_done(soon_future *f, void *data)
{
    struct hook *hook = data;

    REQUIRE(soon_future_done(f));
    REQUIRE_EQ(atomic_fetch_add(&hook->calls, 1), 0);
}

/* Holds a worker until the round begins, so that the races meet a full queue. */
static int hold(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    while (sem_wait(&round_.go) != 0)
        REQUIRE_EQ(errno, EINTR);
    return 0;
}

static void *cancel_them(void *arg)
{
    stress_rng *rng = arg;

    pthread_barrier_wait(&round_.start);
    for (unsigned n = 0; n < 2 * FUTURES; n++) {
        soon_future *f = round_.futures[stress_random(rng, FUTURES)];

        if (soon_future_cancel(f))
            REQUIRE(soon_future_done(f) && soon_future_cancelled(f));
        else
            REQUIRE(!soon_future_cancelled(f));
    }
    return NULL;
}

static void *wait_for_them(void *arg)
{
    stress_rng *rng = arg;

    pthread_barrier_wait(&round_.start);
    for (unsigned n = 0; n < FUTURES / 2; n++) {
        unsigned first = stress_random(rng, FUTURES - 8), value = FUTURES;
        soon_future *f = round_.futures[first];
        int error;

        switch (stress_random(rng, 3)) {
        case 0:
            error = soon_future_result(f, SOON_FOREVER, &value, sizeof value);
            REQUIRE(error == -ECANCELED || (error == 0 && value == first));
            break;
        case 1:
            error = soon_future_wait(f, (soon_ns)stress_random(rng, 20000));
            REQUIRE(error == 0 || error == -ETIMEDOUT);
            break;
        default:
            REQUIRE(soon_wait(&round_.futures[first], 8, SOON_FIRST_COMPLETED, SOON_FOREVER) >= 1);
            REQUIRE_EQ(soon_wait(&round_.futures[first], 8, SOON_ALL_COMPLETED, SOON_FOREVER), 8);
        }
    }
    return NULL;
}

static void hook_them(struct hook hooks[FUTURES][CALLBACKS], stress_rng *rng)
{
    for (unsigned n = 0; n < FUTURES * CALLBACKS; n++) {
        unsigned i = stress_random(rng, FUTURES), k = stress_random(rng, CALLBACKS);
        struct hook *hook = &hooks[i][k];

        if (!hook->added) {
            hook->added = true;
            if (stress_random(rng, 4) == 0)
                REQUIRE_EQ(
                    soon_future_add_done_callback_on(round_.futures[i], round_.ex, on_done, hook),
                    0);
            else
                REQUIRE_EQ(soon_future_add_done_callback(round_.futures[i], on_done, hook), 0);
        } else if (!hook->taken_back) {
            hook->taken_back = soon_future_remove_done_callback(round_.futures[i], on_done, hook);
        }
    }
}

static void *hook_first(void *arg)
{
    pthread_barrier_wait(&round_.start);
    hook_them(round_.hooks[0], arg);
    return NULL;
}

static void *hook_second(void *arg)
{
    pthread_barrier_wait(&round_.start);
    hook_them(round_.hooks[1], arg);
    return NULL;
}

static void check_hooks(void)
{
    const struct hook *hook = &round_.hooks[0][0][0];

    for (size_t i = 0; i < sizeof round_.hooks / sizeof *hook; i++, hook++) {
        unsigned want = hook->added && !hook->taken_back;

        REQUIRE_EQ(atomic_load(&hook->calls), want);
    }
}

static void fill_queue(unsigned workers)
{
    for (unsigned i = 0; i < workers; i++)
        REQUIRE_EQ(soon_submit(round_.ex, hold, NULL, 0, NULL), 0);
    for (unsigned i = 0; i < FUTURES; i++) {
        atomic_store(&runs[i], 0);
        REQUIRE_EQ(soon_submit(round_.ex, run, &i, sizeof i, &round_.futures[i]), 0);
    }
}

/* The pool is down, so nothing moves any more. Gives how many were cancelled. */
static uint64_t check_futures(void)
{
    uint64_t cancelled = 0;

    for (unsigned i = 0; i < FUTURES; i++) {
        bool gone = soon_future_cancelled(round_.futures[i]);

        REQUIRE(soon_future_done(round_.futures[i]));
        REQUIRE_EQ(atomic_load(&runs[i]), gone ? 0 : 1);
        cancelled += gone;
        soon_future_unref(round_.futures[i]);
    }
    return cancelled;
}

static uint64_t run_round(uint64_t number)
{
    static void *(*const roles[ROLES])(void *) = {cancel_them, wait_for_them, wait_for_them,
                                                  hook_first, hook_second};
    pthread_t threads[ROLES];
    unsigned workers = 1 + number % 3;
    uint64_t cancelled;

    round_.ex = stress_pool(workers);
    memset(round_.hooks, 0, sizeof round_.hooks);
    REQUIRE_EQ(pthread_barrier_init(&round_.start, NULL, ROLES + 1), 0);
    REQUIRE_EQ(sem_init(&round_.go, 0, 0), 0);
    fill_queue(workers);
    for (unsigned i = 0; i < ROLES; i++) {
        round_.rngs[i] = stress_rng_new(number * ROLES + i);
        stress_spawn(&threads[i], roles[i], &round_.rngs[i]);
    }
    pthread_barrier_wait(&round_.start);
    for (unsigned i = 0; i < workers; i++)
        REQUIRE_EQ(sem_post(&round_.go), 0);
    for (unsigned i = 0; i < ROLES; i++)
        stress_join(threads[i]);
    stress_pool_end(round_.ex);
    cancelled = check_futures();
    check_hooks();
    REQUIRE_EQ(sem_destroy(&round_.go), 0);
    REQUIRE_EQ(pthread_barrier_destroy(&round_.start), 0);
    return cancelled;
}

int main(void)
{
    uint64_t rounds = 0, cancelled = 0;

    stress_begin("stress/cancel");
    while (stress_more())
        cancelled += run_round(rounds++);
    return stress_end("%llu rounds of %d futures, %llu cancelled", (unsigned long long)rounds,
                      FUTURES, (unsigned long long)cancelled);
}
