/* SPDX-License-Identifier: MIT */
/*
 * One iterator, several readers, several threads that add to it while others
 * cancel: what was added once comes out once, what was added again comes out
 * again at most as often, and a reader that only polls the descriptor misses none.
 */
#include "stress.h"

#include <poll.h>

enum { ADDERS = 3, READERS = 3, EACH = 400, TOTAL = ADDERS * EACH };

static struct round {
    soon_executor *ex;
    soon_as_completed *it;
    atomic_uint adders_left;
    atomic_uint came_out[TOTAL], added[TOTAL];
    soon_future *futures[TOTAL];
    unsigned repeats;
} round_;

struct role {
    unsigned number;
    int fd; /* of the iterator, for a reader that polls; else -1 */
    stress_rng rng;
};

static int work(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned index;

    REQUIRE_EQ(arg_len, sizeof index);
    memcpy(&index, arg, sizeof index);
    if (index % 16 == 0)
        stress_spin(20000);
    return soon_return(call, &index, sizeof index);
}

static void *add_them(void *arg)
{
    struct role *role = arg;

    for (unsigned n = 0; n < EACH; n++) {
        unsigned i = role->number * EACH + n;

        REQUIRE_EQ(soon_submit(round_.ex, work, &i, sizeof i, &round_.futures[i]), 0);
        for (unsigned k = 0; k < round_.repeats; k++) {
            /* Counted before it can come out. */
            atomic_fetch_add(&round_.added[i], 1);
            REQUIRE_EQ(soon_as_completed_add(round_.it, round_.futures[i]), 0);
        }
        if (stress_random(&role->rng, 4) == 0)
            soon_future_cancel(round_.futures[i - stress_random(&role->rng, n < 8 ? n + 1 : 8)]);
    }
    atomic_fetch_sub(&round_.adders_left, 1);
    return NULL;
}

/* Which future of the round this is: a cancelled one has no result to tell. */
static unsigned index_of(soon_future *f)
{
    unsigned index;

    if (soon_future_result(f, 0, &index, sizeof index) == 0)
        return index;
    for (index = 0; index < TOTAL; index++)
        if (round_.futures[index] == f)
            return index;
    REQUIRE(!"a future that nobody added");
    return 0;
}

/* One step of a reader; a polling one asks only after the descriptor said so. */
static int next_one(const struct role *role, soon_future **out)
{
    struct pollfd fd = {.fd = role->fd, .events = POLLIN};
    soon_ns timeout = role->number % 2 == 0 ? SOON_FOREVER : (soon_ns)5000;

    if (role->fd >= 0) {
        timeout = 0;
        while (poll(&fd, 1, -1) < 0)
            REQUIRE_EQ(errno, EINTR);
    }
    return soon_as_completed_next(round_.it, timeout, out);
}

/* Which futures came out is looked up when the adders have stopped writing. */
static void *read_them(void *arg)
{
    struct role *role = arg;
    size_t n = 0;
    soon_future **kept = calloc(TOTAL * round_.repeats + 1, sizeof *kept);

    REQUIRE(kept != NULL);
    for (;;) {
        bool over = atomic_load(&round_.adders_left) == 0;
        int got = next_one(role, &kept[n]);

        REQUIRE(got == 1 || got == 0 || got == -ETIMEDOUT);
        if (got == 1)
            REQUIRE(soon_future_done(kept[n++]));
        else if (got == 0 && over)
            break;
        else
            sched_yield();
    }
    while (n > 0) {
        atomic_fetch_add(&round_.came_out[index_of(kept[--n])], 1);
        soon_future_unref(kept[n]);
    }
    free(kept);
    return NULL;
}

static void run_round(uint64_t number)
{
    struct role roles[ADDERS + READERS];
    pthread_t threads[ADDERS + READERS];
    int fd = -1;

    memset(&round_, 0, sizeof round_);
    round_.ex = stress_pool(2);
    round_.repeats = 1 + number % 2;
    atomic_store(&round_.adders_left, ADDERS);
    REQUIRE_EQ(soon_as_completed_new(NULL, 0, &round_.it), 0);
    if (number % 4 >= 2) {
        fd = soon_as_completed_fd(round_.it);
        REQUIRE(fd >= 0);
    }
    for (unsigned i = 0; i < ADDERS + READERS; i++) {
        bool adds = i < ADDERS;

        roles[i].number = adds ? i : i - ADDERS;
        roles[i].fd = fd;
        roles[i].rng = stress_rng_new(number * (ADDERS + READERS) + i);
        stress_spawn(&threads[i], adds ? add_them : read_them, &roles[i]);
    }
    for (unsigned i = 0; i < ADDERS + READERS; i++)
        stress_join(threads[i]);
    soon_as_completed_free(round_.it);
    stress_pool_end(round_.ex);
    for (unsigned i = 0; i < TOTAL; i++) {
        unsigned out = atomic_load(&round_.came_out[i]);

        REQUIRE(out >= 1 && out <= atomic_load(&round_.added[i]));
        soon_future_unref(round_.futures[i]);
    }
}

int main(void)
{
    uint64_t rounds = 0;

    stress_begin("stress/as_completed");
    while (stress_more())
        run_round(rounds++);
    return stress_end("%llu rounds of %d futures, %d adders, %d readers",
                      (unsigned long long)rounds, TOTAL, ADDERS, READERS);
}
