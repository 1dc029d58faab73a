// SPDX-License-Identifier: MIT
//
// relacy as the engine wants it: with a better random generator, and without
// the names that it redefines.
#ifndef SOON_MODEL_RELACY_H
#define SOON_MODEL_RELACY_H

// relacy switches fibers with longjmp(), which the checked variant of it takes for
// an error.
#undef _FORTIFY_SOURCE

#include <relacy/base.hpp>

// relacy's own generator, 257 x + 1 modulo 2^32 seeded with multiples, never
// comes up with many a short sequence of choices. This one is SplitMix64
// (Steele, Lea and Flood, 2014).
#define RL_RANDOM_HPP
namespace rl
{
struct random_generator {
    uint64_t state;

    void seed(iteration_t run)
    {
        state = run * 0xD1342543DE82EF95u; // far apart
    }

    unsigned rand()
    {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return static_cast<unsigned>((z ^ z >> 31) >> 32);
    }
};
} // namespace rl

#include <relacy/relacy.hpp>

// relacy renames these for its users. What is checked here is C, which it can't reach.
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

#endif
