/* SPDX-License-Identifier: MIT */
#include "core/tally.h"

#include "core/mem.h"

#include <string.h>

struct soon__tally *soon__tally_join(struct soon__tallies *tallies)
{
    struct soon__tally *shard = soon__alloc_line(sizeof *shard);

    if (!shard)
        return NULL;
    memset(shard, 0, sizeof *shard);
    soon__lock_acquire(&tallies->lock);
    shard->next = tallies->shards;
    tallies->shards = shard;
    soon__lock_release(&tallies->lock);
    return shard;
}

static void add_joined(const struct soon__tally *t, uint64_t sum[SOON__FIGURES])
{
    for (size_t len = 0; len < SOON__LENGTHS; len++) {
        uint64_t n = atomic_load(&t->joined[len]);
        sum[SOON__N_FINISHED] += n;
        sum[SOON__N_RELEASED] += n;
        sum[SOON__N_BYTES_OUT] += n * len;
    }
}

static void add_plain(const struct soon__tally *t, uint64_t sum[SOON__FIGURES])
{
    for (size_t len = 0; len < SOON__LENGTHS; len++) {
        uint64_t n = atomic_load(&t->plain[len]);
        sum[SOON__N_SUBMITTED] += n;
        sum[SOON__N_BYTES_IN] += n * len;
    }
}

void soon__tally_leave(struct soon__tallies *tallies, struct soon__tally *shard)
{
    uint64_t had[SOON__FIGURES] = {0};

    add_joined(shard, had);
    add_plain(shard, had);
    soon__lock_acquire(&tallies->lock);
    struct soon__tally **link = &tallies->shards;
    while (*link != shard)
        link = &(*link)->next;
    *link = shard->next;
    for (int i = 0; i < SOON__FIGURES; i++)
        atomic_fetch_add(&tallies->base.figure[i], had[i] + atomic_load(&shard->figure[i]));
    soon__lock_release(&tallies->lock);
    soon__free_line(shard, sizeof *shard);
}

/* Later stages are read before earlier ones (RELEASED before SUBMITTED,
 * FINISHED before STARTED), so that a difference taken while work goes on is
 * never below zero by more than what happens meanwhile. seq_cst: the drain's
 * side of the closing argument in executor.h. */
void soon__tally_sum(struct soon__tallies *tallies, uint64_t sum[SOON__FIGURES])
{
    soon__lock_acquire(&tallies->lock);
    memset(sum, 0, SOON__FIGURES * sizeof *sum);
    for (const struct soon__tally *t = tallies->shards; t; t = t->next)
        add_joined(t, sum);
    for (int i = 0; i < SOON__FIGURES; i++) {
        sum[i] += atomic_load(&tallies->base.figure[i]);
        for (const struct soon__tally *t = tallies->shards; t; t = t->next)
            sum[i] += atomic_load(&t->figure[i]);
    }
    for (const struct soon__tally *t = tallies->shards; t; t = t->next)
        add_plain(t, sum);
    add_plain(&tallies->base, sum);
    soon__lock_release(&tallies->lock);
}
