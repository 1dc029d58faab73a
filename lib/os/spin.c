/* SPDX-License-Identifier: MIT */
#include "os/spin.h"

#include "os/clock.h"
#include "os/cpus.h"
#include "os/patience.h"

enum { ROUND = 16 };

/* 0: not known yet. */
static _Atomic unsigned cpus; /* Sync: atomic */

void soon__spin_prepare(void)
{
    /* relaxed, both: the answer is the same whoever finds it. */
    if (!atomic_load_explicit(&cpus, memory_order_relaxed))
        atomic_store_explicit(&cpus, soon__cpus(), memory_order_relaxed);
}

bool soon__spin_pays(void)
{
    /* relaxed: as in soon__spin_prepare(). */
    return atomic_load_explicit(&cpus, memory_order_relaxed) > 1;
}

/* Who spins while the pools need all CPUs takes one from them. */
static bool has_idle_cpu(void)
{
    /* relaxed: as in soon__spin_prepare(). */
    return soon__at_work() < atomic_load_explicit(&cpus, memory_order_relaxed);
}

static bool is_set(const soon__futex *word, uint32_t mask)
{
    /* acquire: pairs with the release of whoever sets the bit. */
    return atomic_load_explicit(word, memory_order_acquire) & mask;
}

bool soon__spin(soon__spinner *place, const soon__futex *word, uint32_t mask, soon_ns deadline)
{
    bool set = is_set(word, mask);

    /* relaxed, here and below: it guards nothing but CPU time. */
    if (set || !soon__spin_pays() || !has_idle_cpu() ||
        atomic_flag_test_and_set_explicit(&place->taken, memory_order_relaxed))
        return set;
    bool lucky = atomic_load_explicit(&place->lucky, memory_order_relaxed);
    soon_ns end = soon__now() + (lucky ? SOON__SPIN_LONG : 1) * SOON__SPIN_NS;
    if (end > deadline)
        end = deadline;
    do
        for (int i = 0; i < ROUND && !(set = is_set(word, mask)); i++)
            soon__pause();
    while (!set && soon__now() < end);
    if (set != lucky)
        atomic_store_explicit(&place->lucky, set, memory_order_relaxed);
    atomic_flag_clear_explicit(&place->taken, memory_order_relaxed);
    return set;
}

void soon__spin_for(soon_ns ns, bool (*ready)(const void *data), const void *data)
{
    soon_ns end = soon__now() + ns;

    do
        for (int i = 0; i < ROUND; i++) {
            if (ready(data))
                return;
            soon__pause();
        }
    while (soon__now() < end);
}
