/* SPDX-License-Identifier: MIT */
/*
 * Model checking of the library's own sources, by relacy: every run of a model
 * interleaves its threads at each atomic operation another way, and lets a
 * load return any value that its order permits, not only the newest.
 *
 * A model is a scenario of MODEL_THREADS threads and what must hold of it. It
 * comes with mutants: single changes to the code, each of which removes
 * something the code's comments say is needed. A model passes if the code
 * holds in all runs and every mutant fails in one of them. A mutant that is
 * not found, or that changes an operation that no run comes across, fails the
 * model: so the model can't lose sight of the code.
 *
 * What it does not see: a load that returns a value stored later (relacy has
 * no load buffering), an ABI's or a compiler's faults, and more threads.
 */
#ifndef SOON_MODEL_H
#define SOON_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MODEL_THREADS
#define MODEL_THREADS 3
#endif

/* As relacy numbers them. */
enum model_order {
    MODEL_RELAXED = 0,
    MODEL_ACQUIRE = 2,
    MODEL_RELEASE = 3,
    MODEL_ACQ_REL = 4,
    MODEL_SEQ_CST = 5,
};

/* What is changed in a mutant. */
enum model_change {
    MODEL_WEAKER, /* the order */
    MODEL_SPLIT,  /* a read-modify-write becomes a load and a store */
    MODEL_LATER,  /* a store changes places with the operation after it */
    MODEL_LAST,   /* a store comes only when the thread next takes or leaves a lock, or sleeps */
    MODEL_LOST,   /* a store, or that of a read-modify-write, or a call is left out */
};

enum model_kind { MODEL_LOAD, MODEL_STORE, MODEL_UPDATE, MODEL_CALL };

/* Every operation of that kind, on objects bound by that name, in that
 * function; or every call by that name, see model_call(). */
struct model_mutant {
    const char *function;
    const char *object;
    enum model_kind kind;
    enum model_change change;
    enum model_order order; /* for MODEL_WEAKER */
};

struct model {
    const char *name;
    unsigned runs;
    void (*before)(void);          /* sets everything up, for each run anew */
    void (*thread)(unsigned self); /* 0 to MODEL_THREADS - 1 */
    void (*after)(void);
    void (*resumed)(unsigned self); /* or NULL: self runs again; for what is thread-local */
    const struct model_mutant *mutants;
    size_t n_mutants;
};

/* Checks n models and their mutants, and says how it went: what main() returns. */
int model_check(const struct model *models, size_t n);

/* ---- in before() ---- */

/* Of core/deque.h: after so many pushes those that follow are swift; 0: never. */
extern unsigned model_swift_after;

/* Makes an atomic object known, with what is in it as its value. */
void model_bind(void *object, size_t size, const char *name);
#define MODEL_BIND(field, name) model_bind(&(field), sizeof(field), name)

/* ---- in a model's threads and after() ---- */

/* The run, and so the model or mutant, fails unless holds. */
void model_expect(bool holds, const char *what);

/* From 0 to n - 1: each in some run. */
unsigned model_choose(unsigned n);

/* Writing and reading memory that is not atomic: fails where two threads might
 * do so at the same time, or a read comes before any write. */
enum { MODEL_CELLS = 32 };
void model_write(unsigned cell);
void model_read(unsigned cell);

/* ---- in what stands in for lib/os ---- */

void model_lock(const void *lock);
bool model_try_lock(const void *lock);
void model_unlock(const void *lock);
void model_yield(void);
/* False if it timed out, which only happens if timed. */
bool model_sleep(const void *word, uint32_t expected, bool timed);
void model_wake(const void *word, int n);

/* A full barrier in all threads, one after the other, each at some point of its own. */
void model_barrier_everywhere(void);

/* A call of the system's is about to be made: false in the mutant that loses it. */
bool model_call(const char *function, const char *object);

/* The newest value of an object, for who stands outside of the model. */
uint64_t model_peek(const void *object);

/* ---- in shim/stdatomic.h ---- */

uint64_t model_load(const void *object, size_t size, const char *function, enum model_order order);
void model_store(void *object, size_t size, const char *function, uint64_t value,
                 enum model_order order);
uint64_t model_exchange(void *object, size_t size, const char *function, uint64_t value,
                        enum model_order order);
uint64_t model_add(void *object, size_t size, const char *function, uint64_t value,
                   enum model_order order);
uint64_t model_or(void *object, size_t size, const char *function, uint64_t value,
                  enum model_order order);
uint64_t model_and(void *object, size_t size, const char *function, uint64_t value,
                   enum model_order order);
bool model_swap(void *object, size_t size, const char *function, void *seen, uint64_t value,
                enum model_order order, enum model_order otherwise, bool weak);

#ifdef __cplusplus
}
#endif

#endif
