/* SPDX-License-Identifier: MIT */
/*
 * Stands in for the compiler's <stdatomic.h> where a source of the library is
 * compiled to be model-checked: the same text, but each of its atomic
 * operations is a call to the checker, with its order, and with the name of
 * the function it is in, by which a mutant finds it.
 *
 * An atomic object is plain memory here, which only gives the checker an
 * address; model_bind() makes it known, and fills it with rubbish for whoever
 * reads it past these macros.
 */
#ifndef SOON_MODEL_STDATOMIC_H
#define SOON_MODEL_STDATOMIC_H

#include "../model.h"

#include <stdbool.h>
#include <stddef.h>

#define _Atomic

typedef enum model_order memory_order;
typedef bool atomic_bool;
typedef struct atomic_flag {
    bool set;
} atomic_flag;

#define memory_order_relaxed MODEL_RELAXED
#define memory_order_acquire MODEL_ACQUIRE
#define memory_order_release MODEL_RELEASE
#define memory_order_acq_rel MODEL_ACQ_REL
#define memory_order_seq_cst MODEL_SEQ_CST

/* The type of *p as a value, without its qualifiers. */
#define MODEL_TYPE(p) __typeof__(((void)0, *(p)))
#define MODEL_AT(p) (p), sizeof *(p), __func__
#define MODEL_WORD(v) ((uint64_t)(uintptr_t)(v))

/* What an update returns is often not used, of which a cast would be warned. */
#define MODEL_WAS(p, was)                             \
    __extension__({                                   \
        MODEL_TYPE(p) model_was = (MODEL_TYPE(p))was; \
        model_was;                                    \
    })

#define atomic_init(p, v) ((void)(*(p) = (v)))
#define atomic_load_explicit(p, order) ((MODEL_TYPE(p))model_load(MODEL_AT(p), order))
#define atomic_store_explicit(p, v, order) model_store(MODEL_AT(p), MODEL_WORD(v), order)
#define atomic_exchange_explicit(p, v, order) \
    MODEL_WAS(p, model_exchange(MODEL_AT(p), MODEL_WORD(v), order))
#define atomic_fetch_add_explicit(p, v, order) \
    MODEL_WAS(p, model_add(MODEL_AT(p), MODEL_WORD(v), order))
#define atomic_fetch_sub_explicit(p, v, order) \
    MODEL_WAS(p, model_add(MODEL_AT(p), -MODEL_WORD(v), order))
#define atomic_fetch_or_explicit(p, v, order) \
    MODEL_WAS(p, model_or(MODEL_AT(p), MODEL_WORD(v), order))
#define atomic_fetch_and_explicit(p, v, order) \
    MODEL_WAS(p, model_and(MODEL_AT(p), MODEL_WORD(v), order))
#define atomic_compare_exchange_strong_explicit(p, seen, v, order, otherwise) \
    model_swap(MODEL_AT(p), seen, MODEL_WORD(v), order, otherwise, false)
#define atomic_compare_exchange_weak_explicit(p, seen, v, order, otherwise) \
    model_swap(MODEL_AT(p), seen, MODEL_WORD(v), order, otherwise, true)

/* The checker exchanges nothing that a compiler would. */
#define atomic_signal_fence(order) ((void)(order))

#define atomic_load(p) atomic_load_explicit(p, memory_order_seq_cst)
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_add(p, v) atomic_fetch_add_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_sub(p, v) atomic_fetch_sub_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_or(p, v) atomic_fetch_or_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_and(p, v) atomic_fetch_and_explicit(p, v, memory_order_seq_cst)
#define atomic_compare_exchange_strong(p, seen, v) \
    atomic_compare_exchange_strong_explicit(p, seen, v, memory_order_seq_cst, memory_order_seq_cst)

#endif
