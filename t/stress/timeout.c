/* SPDX-License-Identifier: MIT */
/*
 * Tasks that end about when their time is up. Each future ends once, in its
 * result or in -ETIME, stays what it is when the late result comes, and the
 * pool's figures agree with what was seen.
 */
#include "stress.h"

enum { FUTURES = 200 };

static atomic_uint called[FUTURES], ran[FUTURES];

struct job {
    unsigned index;
    uint32_t spin_ns;
};

static int run(soon_call *call, const void *arg, size_t arg_len)
{
    struct job job;

    REQUIRE_EQ(arg_len, sizeof job);
    memcpy(&job, arg, sizeof job);
    REQUIRE_EQ(atomic_fetch_add(&ran[job.index], 1), 0);
    if (job.index % 7 == 0) {
        /* A polite one, which only its deadline ends: it must be told. */
        while (!soon_call_cancelled(call))
            sched_yield();
    } else {
        stress_spin(job.spin_ns);
    }
    return soon_return(call, &job.index, sizeof job.index);
}

static void on_done(soon_future *f, void *data)
{
    (void)f;
    REQUIRE_EQ(atomic_fetch_add((atomic_uint *)data, 1), 0);
}

struct outcome {
    uint64_t finished, timed_out, cancelled;
};

static int require_one_end(soon_future *f, unsigned index)
{
    soon_error error;
    unsigned value = FUTURES;
    int code = soon_future_result(f, SOON_FOREVER, &value, sizeof value);

    REQUIRE(code == 0 || code == -ETIME || code == -ECANCELED);
    REQUIRE_EQ(soon_future_error(f, 0, &error), 0);
    REQUIRE_EQ(error.code, code);
    if (code == 0)
        REQUIRE_EQ(value, index);
    else
        REQUIRE_EQ(error.origin, SOON_FROM_LIBRARY);
    return code;
}

static void count_end(struct outcome *seen, int code)
{
    seen->finished += code == 0;
    seen->timed_out += code == -ETIME;
    seen->cancelled += code == -ECANCELED;
}

static void submit_all(soon_executor *ex, stress_rng *rng, soon_future **futures)
{
    for (unsigned i = 0; i < FUTURES; i++) {
        struct job job = {i, stress_random(rng, 40000)};
        soon_task task = {.fn = run,
                          .arg = &job,
                          .arg_len = sizeof job,
                          .timeout = 1 + (soon_ns)stress_random(rng, 60000)};

        atomic_store(&called[i], 0);
        atomic_store(&ran[i], 0);
        REQUIRE_EQ(soon_submit_task(ex, &task, &futures[i]), 0);
        REQUIRE_EQ(soon_future_add_done_callback(futures[i], on_done, &called[i]), 0);
    }
}

static void run_round(uint64_t number, struct outcome *total)
{
    stress_rng rng = stress_rng_new(number);
    soon_executor *ex = stress_pool(1 + stress_random(&rng, 4));
    soon_future *futures[FUTURES];
    int codes[FUTURES];
    struct outcome seen = {0};
    soon_stats stats;

    submit_all(ex, &rng, futures);
    for (unsigned n = 0; n < FUTURES / 8; n++)
        soon_future_cancel(futures[stress_random(&rng, FUTURES)]);
    for (unsigned i = 0; i < FUTURES; i++) {
        codes[i] = require_one_end(futures[i], i);
        count_end(&seen, codes[i]);
    }
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    stress_require_balance(ex, FUTURES);
    REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    REQUIRE_EQ(stats.finished, seen.finished);
    REQUIRE_EQ(stats.timed_out, seen.timed_out);
    REQUIRE_EQ(stats.cancelled, seen.cancelled);
    soon_executor_unref(ex);
    for (unsigned i = 0; i < FUTURES; i++) {
        REQUIRE_EQ(require_one_end(futures[i], i), codes[i]);
        /* The timer's thread may have woken us before it called. */
        while (atomic_load(&called[i]) == 0)
            sched_yield();
        REQUIRE_EQ(atomic_load(&ran[i]), codes[i] == -ECANCELED ? 0 : 1);
        soon_future_unref(futures[i]);
    }
    total->finished += seen.finished;
    total->timed_out += seen.timed_out;
    total->cancelled += seen.cancelled;
}

int main(void)
{
    uint64_t rounds = 0;
    struct outcome total = {0};

    stress_begin("stress/timeout");
    while (stress_more())
        run_round(rounds++, &total);
    return stress_end("%llu rounds: %llu in time, %llu past it, %llu cancelled",
                      (unsigned long long)rounds, (unsigned long long)total.finished,
                      (unsigned long long)total.timed_out, (unsigned long long)total.cancelled);
}
