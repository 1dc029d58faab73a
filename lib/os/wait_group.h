/* SPDX-License-Identifier: MIT */
/*
 * A wait group: how many threads are at something, and a way to sleep until
 * none is. What a thread did before it left is seen by who has waited.
 *
 * Who waits must not be in the group, nor needed by one who is. Members may come
 * and go while somebody waits: he may miss a moment without any, but not the
 * last.
 */
#ifndef SOON_OS_WAIT_GROUP_H
#define SOON_OS_WAIT_GROUP_H

#include <limits.h>

#include "os/clock.h"
#include "os/futex.h"

struct soon__wait_group {
    soon__futex members; /* Sync: atomic */
};

static inline void soon__wait_group_enter(struct soon__wait_group *group)
{
    atomic_fetch_add(&group->members, 1);
}

static inline void soon__wait_group_leave(struct soon__wait_group *group)
{
    /* seq_cst, as all here: release, for what the member did; pairs with the
     * load in soon__wait_group_wait(). */
    if (atomic_fetch_sub(&group->members, 1) == 1)
        soon__futex_wake(&group->members, INT_MAX);
}

static inline void soon__wait_group_wait(struct soon__wait_group *group)
{
    uint32_t n;

    while ((n = atomic_load(&group->members)))
        soon__futex_wait(&group->members, n, SOON__NEVER);
}

#endif
