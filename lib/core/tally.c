/* SPDX-License-Identifier: MIT */
#include "core/tally.h"

#include "core/mem.h"

struct soon__tally *soon__tally_join(struct soon__tallies *tallies)
{
    struct soon__tally *shard = soon__alloc_line(sizeof *shard);

    if (!shard)
        return NULL;
    for (int i = 0; i < SOON__FIGURES; i++)
        atomic_init(&shard->figure[i], 0);
    soon__lock_acquire(&tallies->lock);
    shard->next = tallies->shards;
    tallies->shards = shard;
    soon__lock_release(&tallies->lock);
    return shard;
}

void soon__tally_leave(struct soon__tallies *tallies, struct soon__tally *shard)
{
    soon__lock_acquire(&tallies->lock);
    struct soon__tally **link = &tallies->shards;
    while (*link != shard)
        link = &(*link)->next;
    *link = shard->next;
    for (int i = 0; i < SOON__FIGURES; i++)
        atomic_fetch_add(&tallies->base.figure[i], atomic_load(&shard->figure[i]));
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
    for (int i = 0; i < SOON__FIGURES; i++) {
        sum[i] = atomic_load(&tallies->base.figure[i]);
        for (struct soon__tally *t = tallies->shards; t; t = t->next)
            sum[i] += atomic_load(&t->figure[i]);
    }
    soon__lock_release(&tallies->lock);
}
