/* SPDX-License-Identifier: MIT */
#include "core/fork.h"

#include "core/block.h"
#include "core/callback.h"
#include "core/depot.h"
#include "core/thread.h"
#include "core/timer.h"
#include "os/patience.h"

#include <errno.h>
#include <pthread.h>

_Atomic uint32_t soon__fork_generation = 1;

/* In the order of the ranks in os/lock.h. */
static void prepare(void)
{
    soon__stripes_fork_prepare();
    soon__blocked_fork_prepare();
    soon__timer_fork_prepare();
    soon__depot_fork_prepare();
}

static void parent(void)
{
    soon__depot_fork_release();
    soon__timer_fork_parent();
    soon__blocked_fork_parent();
    soon__stripes_fork_release();
}

static void child(void)
{
    uint32_t next = (soon__generation() + 1) & 0xFFFF;

    /* relaxed: the child has one thread. */
    atomic_store_explicit(&soon__fork_generation, next ? next : 1, memory_order_relaxed);
    soon__disown();
    soon__work_fork_child();
    soon__depot_fork_release();
    soon__timer_fork_child();
    soon__blocked_fork_child();
    soon__stripes_fork_release();
}

static int install_error; /* Sync: const once the library is loaded */

/* When the library is loaded: later, a fork in another thread could come
 * between. */
__attribute__((constructor)) static void install(void)
{
    install_error = -pthread_atfork(prepare, parent, child);
}

int soon__fork_guard(void)
{
    return install_error;
}
