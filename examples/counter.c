/* SPDX-License-Identifier: MIT */
/*
 * counter: one number that several worker processes count up.
 *
 *     counter [-j WORKERS] [--start=forkserver|fork|spawn] [INCREMENTS]
 *
 * What a task writes stays in its worker: the program's own `increments` is
 * still 0 at the end. A number that all of them see lies in memory that they
 * share, here a memfd that is made before the pool and mapped by each worker's
 * initializer, which gets its descriptor. A forked worker finds the program's
 * mapping where it was, so a pointer to it would do as well. A spawned one has
 * executed the program anew: of all that the program had it has only the
 * descriptors that are not close-on-exec.
 *
 * It is an atomic number and not one with a lock beside it, for a worker that
 * is killed while it holds a lock never lets go of it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <soon.h>

#include "pool.h"

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "elsewhere its lock would stay in each process");

enum { MOST = 10000 };

struct shared {
    atomic_uint counter;
    atomic_uint workers; /* that have begun a task */
};

/* Each process has these two for itself. */
static struct shared *shared;
static unsigned increments;

/* The initializer: arg is the descriptor of the shared memory. */
static int join(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    int fd = *(const int *)arg;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        return soon_fail(call, -errno, "mapping descriptor %d: %s", fd, strerror(errno));
    return 0;
}

/* The task: arg is the number of workers, the result the process that ran it. It ends when all
 * workers have one, so that one alone can't do the work of all. */
static int increment(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    unsigned workers = *(const unsigned *)arg;
    const struct timespec moment = {0, 1000000};
    if (increments++ == 0)
        atomic_fetch_add(&shared->workers, 1);
    atomic_fetch_add(&shared->counter, 1);
    while (atomic_load(&shared->workers) < workers) {
        if (soon_call_cancelled(call))
            return -ECANCELED;
        nanosleep(&moment, NULL);
    }
    return soon_return(call, &(pid_t){getpid()}, sizeof(pid_t));
}

static unsigned distinct(const pid_t *pids, size_t n)
{
    unsigned count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t first = 0;
        while (pids[first] != pids[i])
            first++;
        count += first == i;
    }
    return count;
}

/* One task for each increment. 0, or a negative errno. */
static int count(soon_executor *pool, unsigned workers, size_t n)
{
    static unsigned items[MOST];
    static pid_t pids[MOST];
    for (size_t i = 0; i < n; i++)
        items[i] = workers;
    soon_map_options options = {.chunk_size = 1, .timeout = SOON_SECONDS(30)};
    int err = soon_map(pool, increment, items, sizeof items[0], n, pids, sizeof pids[0], &options);
    if (err == 0)
        printf("%zu increments by %u processes: %u in shared memory, %u in the program's own\n", n,
               distinct(pids, n), atomic_load(&shared->counter), increments);
    return err;
}

/* Memory to share, mapped here as well. Its descriptor stays open over an exec. */
static int make_shared(void)
{
    int fd = memfd_create("counter", 0);
    if (fd < 0 || ftruncate(fd, sizeof *shared) != 0)
        return -errno;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return shared != MAP_FAILED ? fd : -errno;
}

int main(int argc, char **argv)
{
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct pool_choice choice = {.workers = 3};
    bool good = pool_options(&choice, argc, argv, "j:");
    size_t n = optind < argc ? strtoul(argv[optind], NULL, 10) : 5;
    if (!good || n < choice.workers || n > MOST) {
        fprintf(stderr,
                "usage: counter [-j WORKERS] [--start=forkserver|fork|spawn] "
                "[INCREMENTS], no fewer than WORKERS and at most %d\n",
                MOST);
        return 2;
    }
    int fd = make_shared();
    soon_executor *pool = NULL;
    soon_process_pool_options options = {
        .max_workers = choice.workers,
        .start_method = choice.start_method,
        .initializer = join,
        .init_arg = &fd,
        .init_arg_len = sizeof fd,
    };
    int err = fd < 0 ? fd : soon_process_pool_new(&options, &pool);
    if (err == 0)
        err = count(pool, choice.workers, n);
    if (err != 0)
        fprintf(stderr, "counter: %s\n", strerror(-err));
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return err != 0;
}
