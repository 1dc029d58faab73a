/* SPDX-License-Identifier: MIT */
#include "os/barrier.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sync: atomic, relaxed: who finds out later that there is none has tried in vain, and
 * sees to it. */
static atomic_bool is_there;

static bool call(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

/* A process has to say that it will use it, which takes a moment when it has one thread,
 * and up to some 10 ms when it has more. So it does when it begins, or loads the library. */
__attribute__((constructor)) static void prepare(void)
{
    int saved = errno;

    atomic_store_explicit(&is_there, call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
                          memory_order_relaxed);
    errno = saved;
}

bool soon__has_barrier_everywhere(void)
{
    return atomic_load_explicit(&is_there, memory_order_relaxed);
}

/* It was there, and is there no more: the process has put itself into a sandbox. What a CPU
 * has stored others see within less than a microsecond, though nobody promises that, and
 * a thread that does not run has no such stores. This is a thousand times as long. Nobody
 * new relies on the barrier from now on, so it is over when those who do have ended. */
static void wait_instead(void)
{
    struct timespec left = {.tv_nsec = 1000000};

    atomic_store_explicit(&is_there, false, memory_order_relaxed);
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

void soon__barrier_everywhere(void)
{
    int saved = errno;

    /* A forked child may have to say it anew. */
    if (!call(MEMBARRIER_CMD_PRIVATE_EXPEDITED) &&
        !(call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
          call(MEMBARRIER_CMD_PRIVATE_EXPEDITED)))
        wait_instead();
    errno = saved;
}
