/* SPDX-License-Identifier: MIT */
#include "os/clock.h"

#include <time.h>

soon_ns soon__now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (soon_ns)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

soon_ns soon__deadline(soon_ns timeout)
{
    if (timeout < 0)
        return SOON__NEVER;
    soon_ns now = soon__now();
    return timeout < SOON__NEVER - now ? now + timeout : SOON__NEVER;
}

soon_ns soon__remaining(soon_ns deadline)
{
    if (deadline == SOON__NEVER)
        return SOON_FOREVER;
    soon_ns now = soon__now();
    return deadline > now ? deadline - now : 0;
}
