/* SPDX-License-Identifier: MIT */
/*
 * What happens while the library is at work: a worker writes to what has just
 * been checked, or another thread of the library takes over.
 *
 * clang can have a program call a function before each load from memory, which
 * the gate does for lib/process_pool. In other builds nothing of this happens,
 * or only afterwards.
 */
#include "fuzz.h"

static unsigned every, left; /* 0: there is none */
static unsigned until_change;
static bool blind; /* it is not the library that loads */

void fuzz_ambush(unsigned n)
{
    every = left = n;
}

void fuzz_ambush_over(void)
{
    every = left = 0;
}

void fuzz_preempt(unsigned n)
{
    until_change = n;
}

void fuzz_blind(bool now)
{
    blind = now;
}

#ifdef FUZZ_LOADS

static bool is_channel(const void *address)
{
    size_t size;

    return fuzz_mapping_at(address, &size) &&
           (size == SOON__VALUES_AT || size == SOON__VALUES_SIZE);
}

static void fall_into_ambush(void)
{
    unsigned n = every;

    every = 0;
    if (!fuzz_next_is_mad())
        return;
    fuzz_ambushed = true;
    fuzz_do_next();
    every = left = n;
}

static void load(const void *address)
{
    if (blind)
        return;
    if (until_change && !--until_change)
        fuzz_change_over();
    if (left && is_channel(address) && !--left)
        fall_into_ambush();
}

void __sanitizer_cov_load1(const uint8_t *address);
void __sanitizer_cov_load2(const uint16_t *address);
void __sanitizer_cov_load4(const uint32_t *address);
void __sanitizer_cov_load8(const uint64_t *address);
void __sanitizer_cov_load16(const void *address);

void __sanitizer_cov_load1(const uint8_t *address)
{
    load(address);
}

void __sanitizer_cov_load2(const uint16_t *address)
{
    load(address);
}

void __sanitizer_cov_load4(const uint32_t *address)
{
    load(address);
}

void __sanitizer_cov_load8(const uint64_t *address)
{
    load(address);
}

void __sanitizer_cov_load16(const void *address)
{
    load(address);
}

#endif
