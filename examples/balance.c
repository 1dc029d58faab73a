/* SPDX-License-Identifier: MIT */
/*
 * balance: many tasks pay into one account, with a lock and without one.
 *
 *     balance [TASKS]
 *
 * A thread pool's tasks share memory. Reading the balance and writing it back
 * are two steps; what another task paid in between is overwritten and lost.
 * The load and the store are atomic here, each for itself: without that it
 * would not be a wrong balance but undefined behaviour. Atomic steps don't
 * make an atomic whole; the lock does.
 *
 * How much is lost is luck: on one CPU, or on a good day, perhaps nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <soon.h>

enum { PAYMENTS = 10000 }; /* of 1 each, in every task */

struct account {
    atomic_long balance;
    pthread_mutex_t lock;
};

static void pay_one(struct account *account)
{
    long balance = atomic_load_explicit(&account->balance, memory_order_relaxed);
    atomic_store_explicit(&account->balance, balance + 1, memory_order_relaxed);
}

/* The tasks: arg is a pointer to the account, the result is empty. */
static int pay_unlocked(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    struct account *account = *(struct account *const *)arg;
    for (int i = 0; i < PAYMENTS; i++)
        pay_one(account);
    return 0;
}

static int pay_locked(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    struct account *account = *(struct account *const *)arg;
    for (int i = 0; i < PAYMENTS; i++) {
        pthread_mutex_lock(&account->lock);
        pay_one(account);
        pthread_mutex_unlock(&account->lock);
    }
    return 0;
}

/* Runs fn in so many tasks on one account. The balance at the end, or a negative errno. */
static long total(soon_executor *pool, soon_fn *fn, size_t tasks)
{
    struct account account = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct account **items = calloc(tasks, sizeof(struct account *));
    if (items == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < tasks; i++)
        items[i] = &account;
    soon_map_options options = {.chunk_size = 1};
    int err = soon_map(pool, fn, items, sizeof items[0], tasks, NULL, 0, &options);
    free(items);
    return err != 0 ? err : atomic_load(&account.balance);
}

static int report(const char *how, long balance, long expected)
{
    if (balance < 0) {
        fprintf(stderr, "balance: %s: %s\n", how, strerror((int)-balance));
        return 1;
    }
    printf("%-15s %ld of %ld, %ld lost\n", how, balance, expected, expected - balance);
    return 0;
}

int main(int argc, char **argv)
{
    size_t tasks = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    if (tasks == 0 || tasks > 100000) {
        fprintf(stderr, "usage: balance [TASKS], 1 to 100000\n");
        return 2;
    }
    soon_executor *pool;
    int err = soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 4}, &pool);
    if (err != 0) {
        fprintf(stderr, "balance: %s\n", strerror(-err));
        return 1;
    }
    long expected = (long)tasks * PAYMENTS;
    int failed = report("without a lock:", total(pool, pay_unlocked, tasks), expected);
    failed |= report("with a lock:", total(pool, pay_locked, tasks), expected);
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return failed;
}
