/* SPDX-License-Identifier: MIT */
#include "os/inject.h"

#ifdef SOON_INJECT

#include <stdatomic.h>

static struct {
    atomic_long countdown; /* Sync: atomic; 0 is off */
    atomic_bool fired;     /* Sync: atomic */
} points[SOON__INJECT_POINTS];

void soon__inject_after(enum soon__inject_point point, long n)
{
    atomic_store(&points[point].fired, false);
    atomic_store(&points[point].countdown, n);
}

bool soon__inject_fired(enum soon__inject_point point)
{
    return atomic_load(&points[point].fired);
}

bool soon__inject(enum soon__inject_point point)
{
    long left = atomic_load(&points[point].countdown);

    while (left > 0)
        if (atomic_compare_exchange_weak(&points[point].countdown, &left, left - 1)) {
            if (left == 1)
                atomic_store(&points[point].fired, true);
            return left == 1;
        }
    return false;
}

#else

typedef int soon__inject_is_off; /* ISO C wants a declaration in every file */

#endif
