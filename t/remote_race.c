/* SPDX-License-Identifier: MIT */
/*
 * Everything at once: tasks begin and end unseen while threads cancel, kill,
 * look and ask. Each future ends exactly once, in the way that everybody was
 * told, and all figures agree.
 */
#include "remote_cases.h"

#include <sched.h>

enum { ROUND = 64, MEDDLERS = 3, MAX_PENDING = 24 };

static soon_executor *ex;

static struct {
    pthread_barrier_t barrier;          /* begin and end of a round */
    soon_future *_Atomic future[ROUND]; /* NULL: not submitted yet */
    atomic_bool over;
    bool said[MEDDLERS][ROUND];   /* a cancel was true. Sync: the meddler, then the barrier */
    bool killed[MEDDLERS][ROUND]; /* a kill gave 0. Sync: as said */
    atomic_uint called[ROUND];    /* callbacks */
    shared_count *ran;
    uint32_t seed[MEDDLERS];
} race_scene;

/* Marsaglia's xorshift: the same meddling for the same seed. */
static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    atomic_fetch_add((atomic_uint *)data, 1);
}

static void look_at(soon_future *f)
{
    uint64_t done, total;
    enum soon_state state = soon_future_state(f), later = soon_future_state(f);

    /* Never back. */
    REQUIRE(later == state || state == SOON_PENDING ||
            (state == SOON_RUNNING && later == SOON_FINISHED));
    REQUIRE(soon_future_progress(f, &done, &total) == 0 && done == total);
    if (soon_future_running(f))
        REQUIRE(soon_future_state(f) != SOON_PENDING);
}

static void meddle(unsigned who, unsigned i, soon_future *f)
{
    int error;

    switch (next_random(&race_scene.seed[who]) % 8) {
    case 0:
    case 1:
    case 2:
        race_scene.said[who][i] = soon_future_cancel(f);
        REQUIRE(race_scene.said[who][i] == soon_future_cancelled(f) || !race_scene.said[who][i]);
        break;
    case 3:
        error = soon_future_kill(f);
        REQUIRE(error == 0 || error == -EALREADY);
        race_scene.killed[who][i] = error == 0;
        REQUIRE(soon_future_done(f) || error == -EALREADY);
        break;
    case 4:
        (void)soon_future_wait(f, 1000);
        break;
    case 5:
        (void)soon_executor_stats(ex, &(soon_stats){0});
        break;
    default:
        look_at(f);
    }
}

static void *run_meddler(void *data)
{
    unsigned who = (unsigned)(uintptr_t)data;
    soon_future *f;

    for (;;) {
        pthread_barrier_wait(&race_scene.barrier);
        if (atomic_load(&race_scene.over))
            return NULL;
        for (unsigned k = 0; k < ROUND; k++) {
            unsigned i = who == 2 ? ROUND - 1 - k : k;
            while (!(f = atomic_load(&race_scene.future[i])))
                sched_yield();
            meddle(who, i, f);
        }
        pthread_barrier_wait(&race_scene.barrier);
    }
}

static int count_and_report(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(soon_call_progress(call, 1, 1) == 0);
    REQUIRE(arg_len == sizeof(shared_count *));
    atomic_fetch_add(*(shared_count *const *)arg, 1);
    return soon_return(call, &arg_len, sizeof arg_len);
}

static void submit_round(void)
{
    for (unsigned i = 0; i < ROUND; i++) {
        soon_future *f = submit(ex, count_and_report, &race_scene.ran, sizeof race_scene.ran);
        assert_ok(soon_future_add_done_callback(f, count_call, &race_scene.called[i]));
        atomic_store(&race_scene.future[i], f);
    }
}

/* How it ended, and that everybody was told so; counts finished ones. */
static void judge(unsigned i, unsigned *finished)
{
    soon_future *f = atomic_load(&race_scene.future[i]);
    bool said = false, killed = false;
    soon_error error;

    EXPECT(soon_future_error(f, ENOUGH, &error) == 0);
    for (unsigned who = 0; who < MEDDLERS; who++) {
        said = said || race_scene.said[who][i];
        killed = killed || race_scene.killed[who][i];
    }
    EXPECT(error.code == 0 || error.code == -ECANCELED || error.code == -EOWNERDEAD);
    if (error.code == 0)
        EXPECT(!said && !killed);
    else if (error.code == -EOWNERDEAD)
        EXPECT(!said && killed);
    else
        EXPECT(said || killed);
    *finished += error.code == 0;
}

static void finish_round(unsigned *finished)
{
    for (unsigned i = 0; i < ROUND; i++)
        judge(i, finished);
    for (unsigned i = 0; i < ROUND; i++) {
        soon_future_unref(atomic_exchange(&race_scene.future[i], NULL));
        while (!atomic_load(&race_scene.called[i]))
            sched_yield(); /* a waiter may wake before callbacks run */
        EXPECT(atomic_exchange(&race_scene.called[i], 0) == 1);
    }
    memset(race_scene.said, 0, sizeof race_scene.said);
    memset(race_scene.killed, 0, sizeof race_scene.killed);
}

/* Every slot of max_pending has come back. */
static void fill_the_queue(void)
{
    soon_future *f[MAX_PENDING];

    for (int i = 0; i < MAX_PENDING; i++)
        f[i] = submit(ex, task_nothing, NULL, 0);
    for (int i = 0; i < MAX_PENDING; i++)
        assert_ok(soon_future_wait(f[i], ENOUGH));
    unref_all(f, MAX_PENDING);
}

static void run_rounds(size_t rounds)
{
    pthread_t meddler[MEDDLERS];
    soon_stats stats;
    unsigned finished = 0;

    for (unsigned who = 0; who < MEDDLERS; who++) {
        race_scene.seed[who] = 88172645 + who;
        REQUIRE(pthread_create(&meddler[who], NULL, run_meddler, (void *)(uintptr_t)who) == 0);
    }
    for (size_t i = 1; i <= rounds; i++) {
        pthread_barrier_wait(&race_scene.barrier);
        submit_round();
        pthread_barrier_wait(&race_scene.barrier);
        finish_round(&finished);
        assert_stats_add_up(ex, i * ROUND);
    }
    atomic_store(&race_scene.over, true);
    pthread_barrier_wait(&race_scene.barrier);
    for (unsigned who = 0; who < MEDDLERS; who++)
        REQUIRE(pthread_join(meddler[who], NULL) == 0);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.finished, finished);
    /* What was killed has run as well, or will have when the worker is there. */
    ck_assert_uint_ge(atomic_load(race_scene.ran), finished);
}

START_TEST(each_task_ends_once_and_as_told)
{
    memset(&race_scene, 0, sizeof race_scene);
    race_scene.ran = shared_new(sizeof *race_scene.ran);
    REQUIRE(pthread_barrier_init(&race_scene.barrier, NULL, MEDDLERS + 1) == 0);
    ex = far_open(_i ? MAX_PENDING : 0, SOON_BLOCK);
    far_start(2);
    run_rounds(scaled(300));
    if (_i)
        fill_the_queue();
    far_close();
    REQUIRE(pthread_barrier_destroy(&race_scene.barrier) == 0);
    shared_free(race_scene.ran, sizeof *race_scene.ran);
}
END_TEST

void add_race_cases(Suite *suite)
{
    TCase *race_case = test_case(suite, "race");

    tcase_add_loop_test(race_case, each_task_ends_once_and_as_told, 0, 2);
}
