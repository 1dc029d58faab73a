/* SPDX-License-Identifier: MIT */
#include "os/lock.h"

void soon__lock_wait(soon__lock *lock)
{
    enum { ROUNDS = 64 };

    for (int i = 0; i < ROUNDS; i++) {
        /* relaxed: only a hint that trying is worth it. */
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 && soon__lock_try(lock))
            return;
        soon__pause();
    }
    /* acquire: as in soon__lock_try(). */
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        soon__futex_wait(&lock->word, 2, SOON__NEVER);
}
