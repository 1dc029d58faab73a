/* SPDX-License-Identifier: MIT */
#include "os/futex.h"

#include "os/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int futex_wait(const soon__futex *word, int operation, uint32_t expected, soon_ns deadline)
{
    int saved = errno;
    struct timespec at, *until = NULL;

    if (deadline != SOON__NEVER) {
        /* The kernel would arm a timer all the same, and let it be late. */
        if (soon__now() >= deadline)
            return atomic_load(word) == expected ? -ETIMEDOUT : 0;
        at.tv_sec = (time_t)(deadline / 1000000000);
        at.tv_nsec = (long)(deadline % 1000000000);
        until = &at;
    }
    /* FUTEX_WAIT_BITSET is the variant whose timeout is absolute. */
    long r = syscall(SYS_futex, word, operation, expected, until, NULL, FUTEX_BITSET_MATCH_ANY);
    int result = r < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
    errno = saved;
    return result;
}

static void futex_wake(const soon__futex *word, int operation, int n)
{
    int saved = errno;

    syscall(SYS_futex, word, operation, n, NULL, NULL, 0);
    errno = saved;
}

int soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    return futex_wait(word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline);
}

void soon__futex_wake(const soon__futex *word, int n)
{
    futex_wake(word, FUTEX_WAKE_PRIVATE, n);
}

int soon__futex_wait_shared(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    return futex_wait(word, FUTEX_WAIT_BITSET, expected, deadline);
}

void soon__futex_wake_shared(const soon__futex *word, int n)
{
    futex_wake(word, FUTEX_WAKE, n);
}
