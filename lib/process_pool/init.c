/* SPDX-License-Identifier: MIT */
/*
 * soon_init(): where a spawned process turns into a worker, and where the
 * program takes note of what such a process will find in itself.
 */
#include "process_pool/function.h"
#include "process_pool/nursery.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <stdatomic.h>

static struct soon__found *_Atomic found; /* Sync: atomic, set once, never freed */

static int take_note(void)
{
    struct soon__found *now, *none = NULL;

    if (atomic_load(&found))
        return 0;
    now = soon__functions_now();
    if (!now)
        return -ENOMEM;
    if (!atomic_compare_exchange_strong(&found, &none, now))
        soon__functions_free(now);
    return 0;
}

int soon_init(int argc, char **argv)
{
    int fds[SOON__BORN_FDS];

    if (argc < 0 || !argv)
        return -EINVAL;
    /* In a worker too: its tasks may spawn workers of their own. */
    int error = take_note();
    if (soon__nursery_born_here(fds))
        soon__worker_live(fds, false);
    return error;
}

struct soon__found *soon__functions_spawned(void)
{
    return atomic_load(&found);
}
