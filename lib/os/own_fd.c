/* SPDX-License-Identifier: MIT */
#include "os/own_fd.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

enum { WORDS = SOON__OWN_FD_MAX / 64 };

static _Atomic uint64_t own[WORDS]; /* Sync: atomic */

static uint64_t bit(int fd)
{
    return UINT64_C(1) << fd % 64;
}

static _Thread_local bool stay;

static void child(void)
{
    for (int word = 0; word < WORDS && !stay; word++)
        atomic_store_explicit(&own[word], 0, memory_order_relaxed);
}

/* Without memory for it, children close what they find in the set. */
__attribute__((constructor)) static void install(void)
{
    (void)pthread_atfork(NULL, NULL, child);
}

void soon__own_fds_stay(bool on)
{
    stay = on;
}

/* relaxed, all: who has the descriptor has it from whoever set the bit. */
void soon__own_fd(int fd)
{
    if (fd >= 0 && fd < SOON__OWN_FD_MAX)
        atomic_fetch_or_explicit(&own[fd / 64], bit(fd), memory_order_relaxed);
}

static void forget(int fd)
{
    if (fd >= 0 && fd < SOON__OWN_FD_MAX)
        atomic_fetch_and_explicit(&own[fd / 64], ~bit(fd), memory_order_relaxed);
}

void soon__own_fd_close(int fd)
{
    int saved = errno;

    if (fd < 0)
        return;
    forget(fd);
    close(fd);
    errno = saved;
}

void soon__own_fds_leave(const int *keep, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        forget(keep[i]);
    for (int word = 0; word < WORDS; word++) {
        uint64_t left = atomic_load_explicit(&own[word], memory_order_relaxed);
        for (; left; left &= left - 1)
            soon__own_fd_close(64 * word + __builtin_ctzll(left));
    }
}
