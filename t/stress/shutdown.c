/* SPDX-License-Identifier: MIT */
/*
 * Shutdowns of every kind race submitting and the last reference. Whatever was
 * accepted ends: it ran once, or a shutdown that cancels cancelled it, or the
 * last reference went and it ran all the same.
 */
#include "stress.h"

enum { SUBMITTERS = 4, MOST = 3000, ENDERS = 2 };

static struct round {
    soon_thread_pool_options options;
    bool only_unref; /* nobody calls shutdown: everything accepted has to run */
    pthread_barrier_t start;
} round_;

struct submitter {
    soon_executor *ex; /* a reference of its own */
    stress_rng rng;
    soon_future *futures[MOST];
    atomic_uint ran[MOST];
    unsigned accepted;
    bool blocked_out; /* saw -ESHUTDOWN */
};

static int run(soon_call *call, const void *arg, size_t arg_len)
{
    atomic_uint *ran;

    (void)call;
    REQUIRE_EQ(arg_len, sizeof ran);
    memcpy(&ran, arg, sizeof ran);
    REQUIRE_EQ(atomic_fetch_add(ran, 1), 0);
    return 0;
}

static void *submit_until_shut(void *arg)
{
    struct submitter *s = arg;
    unsigned limit = round_.only_unref ? stress_random(&s->rng, 200) : MOST;

    pthread_barrier_wait(&round_.start);
    while (s->accepted < limit) {
        atomic_uint *ran = &s->ran[s->accepted];
        int error = soon_submit(s->ex, run, &ran, sizeof ran, &s->futures[s->accepted]);

        if (error == 0) {
            s->accepted++;
            continue;
        }
        if (error == -ESHUTDOWN) {
            s->blocked_out = true;
            REQUIRE_EQ(soon_submit(s->ex, run, &ran, sizeof ran, NULL), -ESHUTDOWN);
            break;
        }
        REQUIRE_EQ(error, -EAGAIN);
        sched_yield();
    }
    soon_executor_unref(s->ex);
    return NULL;
}

struct ender {
    soon_executor *ex;
    stress_rng rng;
};

static void *end_it(void *arg)
{
    struct ender *e = arg;
    static const soon_ns waits[] = {0, 1000, SOON_MS(1), SOON_FOREVER};
    unsigned last = 1 + stress_random(&e->rng, 3);

    pthread_barrier_wait(&round_.start);
    stress_spin(stress_random(&e->rng, 200000));
    for (unsigned n = 0; !round_.only_unref && n < last; n++) {
        soon_ns wait = waits[stress_random(&e->rng, 4)];
        unsigned flags = stress_random(&e->rng, 3) == 0 ? SOON_CANCEL_FUTURES : 0;
        int error = soon_shutdown(e->ex, wait, flags);

        REQUIRE(error == 0 || (error == -ETIMEDOUT && wait > 0));
    }
    soon_executor_unref(e->ex);
    return NULL;
}

static uint64_t check_submitter(struct submitter *s)
{
    for (unsigned i = 0; i < s->accepted; i++) {
        int error = soon_future_wait(s->futures[i], SOON_FOREVER);

        REQUIRE_EQ(error, 0);
        if (soon_future_cancelled(s->futures[i])) {
            REQUIRE(!round_.only_unref);
            REQUIRE_EQ(atomic_load(&s->ran[i]), 0);
        } else {
            REQUIRE_EQ(atomic_load(&s->ran[i]), 1);
        }
        soon_future_unref(s->futures[i]);
    }
    REQUIRE(s->blocked_out == !round_.only_unref || s->accepted == MOST);
    return s->accepted;
}

static void choose_round(stress_rng *rng)
{
    round_.options = (soon_thread_pool_options){
        .max_workers = 1 + stress_random(rng, 4),
        .max_pending = stress_random(rng, 2) == 0 ? 0 : 1 + stress_random(rng, 64),
        .overflow = (int)stress_random(rng, 3),
        .idle_timeout = stress_random(rng, 2) == 0 ? 0 : 1000,
    };
    round_.only_unref = stress_random(rng, 4) == 0;
}

static uint64_t run_round(uint64_t number)
{
    static struct submitter submitters[SUBMITTERS];
    struct ender enders[ENDERS];
    pthread_t threads[SUBMITTERS + ENDERS];
    stress_rng rng = stress_rng_new(number);
    soon_executor *ex;
    uint64_t accepted = 0;

    choose_round(&rng);
    memset(submitters, 0, sizeof submitters);
    REQUIRE_EQ(soon_thread_pool_new(&round_.options, &ex), 0);
    REQUIRE_EQ(pthread_barrier_init(&round_.start, NULL, SUBMITTERS + ENDERS), 0);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        submitters[i].ex = soon_executor_ref(ex);
        submitters[i].rng = stress_rng_new(number * 8 + i);
        stress_spawn(&threads[i], submit_until_shut, &submitters[i]);
    }
    for (unsigned i = 0; i < ENDERS; i++) {
        enders[i].ex = soon_executor_ref(ex);
        enders[i].rng = stress_rng_new(number * 8 + SUBMITTERS + i);
        stress_spawn(&threads[SUBMITTERS + i], end_it, &enders[i]);
    }
    soon_executor_unref(ex);
    for (unsigned i = 0; i < SUBMITTERS + ENDERS; i++)
        stress_join(threads[i]);
    for (unsigned i = 0; i < SUBMITTERS; i++)
        accepted += check_submitter(&submitters[i]);
    REQUIRE_EQ(pthread_barrier_destroy(&round_.start), 0);
    return accepted;
}

int main(void)
{
    uint64_t rounds = 0, accepted = 0;

    stress_begin("stress/shutdown");
    while (stress_more())
        accepted += run_round(rounds++);
    return stress_end("%llu pools shut down under %d submitters, %llu tasks accepted",
                      (unsigned long long)rounds, SUBMITTERS, (unsigned long long)accepted);
}
