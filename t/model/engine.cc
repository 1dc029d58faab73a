// SPDX-License-Identifier: MIT
//
// The model checker behind model.h: relacy, and mutation of single operations
// on their way to it.
//
// All threads of a model are fibers of one thread, which relacy switches at
// each operation, so that nothing in here needs a lock. Its own objects are
// made anew for each run.
#include "relacy.h" // first: it says how the system's headers are to be

#include "model.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

static_assert(static_cast<int>(MODEL_RELAXED) == rl::mo_relaxed &&
                  static_cast<int>(MODEL_ACQUIRE) == rl::mo_acquire &&
                  static_cast<int>(MODEL_RELEASE) == rl::mo_release &&
                  static_cast<int>(MODEL_ACQ_REL) == rl::mo_acq_rel &&
                  static_cast<int>(MODEL_SEQ_CST) == rl::mo_seq_cst,
              "the orders are relacy's");

namespace
{

using word = rl::atomic<uint64_t>;

enum { ATOMICS = 128, LOCKS = 8 };

// An atomic object of the model, and the checker's that has its value.
struct binding {
    const void *object;
    const char *name;
    size_t size;
    alignas(word) unsigned char place[sizeof(word)];

    word &atomic()
    {
        return *std::launder(reinterpret_cast<word *>(place));
    }
};

// A store that was put off by MODEL_LATER, or by MODEL_LAST.
struct put_off {
    binding *to;
    uint64_t value;
    rl::memory_order order;
    bool last;

    void make(rl::debug_info_param info)
    {
        binding *object = to;
        to = nullptr;
        object->atomic().store(value, order, info);
    }
};

const model *checked;
const model_mutant *mutant; // or nullptr
unsigned long mutated;      // operations so far

// Threads that get their turns one by one, at random, are all about equally far
// all the time. Therefore in some runs most operations, in 32nds, come right
// after the one before them.
unsigned stay;

// In some runs those that sleep now and then wake up for nothing.
bool restless;

binding bindings[ATOMICS];
size_t n_bindings;
put_off later[MODEL_THREADS];
const void *locked[LOCKS]; // which lock is which mutex
size_t n_locks;

struct suite : rl::test_suite<suite, MODEL_THREADS> {
    rl::var<int> cells[MODEL_CELLS];
    rl::mutex locks[LOCKS];
    rl::thread_info<MODEL_THREADS> *begun[MODEL_THREADS] = {};

    suite();
    ~suite();
    void before();
    void thread(unsigned self);
    void after();
};

suite *running;

unsigned self()
{
    return rl::thread_index();
}

rl::debug_info here(const char *function, const char *what)
{
    return rl::debug_info(function, what, 0);
}

[[noreturn]] void fail(const char *what)
{
    rl::ctx().fail_test(what, rl::test_result_user_assert_failed, here(what, ""));
    std::abort(); // a failed run is left for good
}

binding &find(const void *object)
{
    for (size_t i = 0; i < n_bindings; i++)
        if (bindings[i].object == object)
            return bindings[i];
    fail("an atomic object that the model has not bound");
}

// A value of size bytes, without what its conversion to 64 bits put above them.
uint64_t cut(uint64_t value, size_t size)
{
    return size == 8 ? value : value & ((uint64_t(1) << 8 * size) - 1);
}

// ---- one operation ----

// Something that a thread does: another one's turn comes before it, or not.
class turn
{
  public:
    turn() : staying(rl::rand(32) < stay)
    {
        if (staying)
            rl::ctx().disable_preemption();
    }

    ~turn()
    {
        if (staying)
            rl::ctx().enable_preemption();
        if (checked->resumed)
            checked->resumed(self());
    }

    turn(const turn &) = delete;
    turn &operator=(const turn &) = delete;

  private:
    const bool staying;
};

// Taking or leaving a lock, sleeping, waking others.
class system_call : turn
{
  public:
    system_call()
    {
        put_off &store = later[self()];
        if (store.to && store.last)
            store.make(here("the last moment", ""));
    }
};

rl::memory_order load_part(rl::memory_order order)
{
    return order == rl::mo_release   ? rl::mo_relaxed
           : order == rl::mo_acq_rel ? rl::mo_acquire
                                     : order;
}

rl::memory_order store_part(rl::memory_order order)
{
    return order == rl::mo_acquire   ? rl::mo_relaxed
           : order == rl::mo_acq_rel ? rl::mo_release
                                     : order;
}

class operation : turn
{
  public:
    operation(const void *object, const char *function, model_kind kind)
        : to(find(object)), info(here(function, to.name)), pending(later[self()].to)
    {
        hit = mutant && mutant->kind == kind && !strcmp(mutant->function, function) &&
              !strcmp(mutant->object, to.name);
        mutated += hit;
    }

    // The thread goes on: first with what it has put off, unless it did so just now.
    ~operation()
    {
        put_off &store = later[self()];
        if (pending && store.to && !store.last)
            store.make(info);
    }

    bool changed(model_change how) const
    {
        return hit && mutant->change == how;
    }

    rl::memory_order order(model_order order) const
    {
        return static_cast<rl::memory_order>(changed(MODEL_WEAKER) ? mutant->order : order);
    }

    // Of a compare-and-swap that fails: no mutant leaves it stronger than order().
    rl::memory_order otherwise(model_order order) const
    {
        rl::memory_order as = static_cast<rl::memory_order>(order);
        return changed(MODEL_WEAKER) ? std::min(as, load_part(this->order(order))) : as;
    }

    binding &to;
    const rl::debug_info info;

  private:
    bool hit;
    const bool pending;
};

uint64_t load(operation &op, rl::memory_order order)
{
    return op.to.atomic().load(order, op.info);
}

void store(operation &op, uint64_t value, rl::memory_order order)
{
    if (op.changed(MODEL_LOST))
        return;
    put_off &slot = later[self()];
    bool last = op.changed(MODEL_LAST);
    if (slot.to || !(last || op.changed(MODEL_LATER)))
        op.to.atomic().store(value, order, op.info);
    else
        slot = put_off{&op.to, value, order, last};
}

// A read-modify-write that a mutant took apart.
bool apart(const operation &op)
{
    return op.changed(MODEL_SPLIT) || op.changed(MODEL_LOST);
}

rl::thread_info<MODEL_THREADS> &clocks()
{
    return *static_cast<rl::thread_info<MODEL_THREADS> *>(rl::ctx().threadx_);
}

// relacy has no compare-and-swap that acquires on failure and does not on
// success. It is one that fails relaxed, and then acquires what this load alone
// has seen: a fence acquires what was seen since its clock was set to zero.
bool swap_acquiring_on_failure(operation &op, uint64_t &seen, uint64_t value,
                               rl::memory_order order, bool weak)
{
    std::memset(clocks().acquire_fence_order_, 0, sizeof clocks().acquire_fence_order_);
    word &atomic = op.to.atomic();
    bool done =
        weak ? atomic.compare_exchange_weak(seen, value, order, op.info, rl::mo_relaxed, op.info)
             : atomic.compare_exchange_strong(seen, value, order, op.info, rl::mo_relaxed, op.info);
    if (!done)
        clocks().atomic_thread_fence_acquire();
    return done;
}

bool swap(operation &op, uint64_t &seen, uint64_t value, rl::memory_order order,
          rl::memory_order otherwise, bool weak)
{
    word &atomic = op.to.atomic();

    if (apart(op)) {
        uint64_t found = load(op, load_part(order));
        if (found != seen) {
            seen = found;
            return false;
        }
        store(op, value, store_part(order));
        return true;
    }
    if (otherwise == rl::mo_acquire && (order == rl::mo_relaxed || order == rl::mo_release))
        return swap_acquiring_on_failure(op, seen, value, order, weak);
    return weak ? atomic.compare_exchange_weak(seen, value, order, op.info, otherwise, op.info)
                : atomic.compare_exchange_strong(seen, value, order, op.info, otherwise, op.info);
}

// An update that always succeeds; after says what it makes of a value.
template <rl::rmw_type_e type, typename F>
uint64_t update(const void *object, size_t size, const char *function, model_order order,
                rl::rmw_type_t<type> how, uint64_t operand, F after)
{
    operation op(object, function, MODEL_UPDATE);
    rl::memory_order as = op.order(order);

    if (!apart(op))
        return cut(op.to.atomic().rmw(how, operand, as, op.info), size);
    uint64_t was = load(op, load_part(as));
    store(op, cut(after(was), size), store_part(as));
    return was;
}

// ---- one run ----

suite::suite()
{
    running = this;
    n_bindings = n_locks = 0;
    for (put_off &store : later)
        store.to = nullptr;
}

suite::~suite()
{
    while (n_bindings)
        bindings[--n_bindings].atomic().~word();
}

void suite::before()
{
    static const unsigned stays[] = {0, 16, 28, 30, 31};

    stay = 0;
    checked->before();
    stay = stays[rl::rand(5)];
    restless = rl::rand(2);
}

void suite::thread(unsigned index)
{
    begun[index] = &clocks();
    if (checked->resumed)
        checked->resumed(index);
    checked->thread(index);
    if (later[index].to)
        later[index].make(here("the end of the thread", ""));
}

void suite::after()
{
    stay = 0;
    if (checked->after)
        checked->after();
}

rl::mutex &mutex_of(const void *lock)
{
    size_t i = 0;

    while (i < n_locks && locked[i] != lock)
        i++;
    if (i == LOCKS)
        fail("more locks than the checker has");
    if (i == n_locks)
        locked[n_locks++] = lock;
    return running->locks[i];
}

// ---- many runs ----

rl::test_params explore(const model &m, const model_mutant *with, std::ostream &log)
{
    rl::ostringstream progress;
    rl::test_params params;

    checked = &m;
    mutant = with;
    mutated = 0;
    params.iteration_count = m.runs;
    params.output_stream = &log;
    params.progress_stream = &progress;
    rl::simulate<suite>(params);
    return params;
}

bool check_code(const model &m)
{
    rl::ostringstream log;
    rl::test_params end = explore(m, nullptr, log);

    if (end.test_result == rl::test_result_success) {
        std::printf("%s: holds in %u runs\n", m.name, m.runs);
        return true;
    }
    std::printf("%s: FAILED\n%s\n", m.name, log.str().c_str());
    return false;
}

void describe(const model_mutant &how)
{
    static const char *const kinds[] = {"load", "store", "update", "call"};
    static const char *const changes[] = {"only", "taken apart", "after the operation that follows",
                                          "at the last moment", "left out"};

    std::printf("%s() with its %s of %s %s%s%s", how.function, kinds[how.kind], how.object,
                changes[how.change], how.change == MODEL_WEAKER ? " " : "",
                how.change == MODEL_WEAKER ? rl::format(static_cast<rl::memory_order>(how.order))
                                           : "");
}

bool check_mutant(const model &m, const model_mutant &how)
{
    rl::ostringstream log;
    rl::test_params end = explore(m, &how, log);
    bool found = end.test_result != rl::test_result_success;

    std::printf("%s: ", m.name);
    describe(how);
    if (found)
        std::printf(": found in run %llu: %s\n",
                    static_cast<unsigned long long>(end.stop_iteration),
                    rl::test_result_str(end.test_result));
    else
        std::printf(": FAILED: %s\n",
                    mutated ? "nothing went wrong" : "there is no such operation");
    return found;
}

} // namespace

int model_check(const struct model *models, size_t n)
{
    bool right = true;

    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    for (size_t i = 0; i < n; i++) {
        right = check_code(models[i]) && right;
        for (size_t k = 0; k < models[i].n_mutants; k++)
            right = check_mutant(models[i], models[i].mutants[k]) && right;
    }
    return right ? 0 : 1;
}

// ---- what models call ----

void model_bind(void *object, size_t size, const char *name)
{
    uint64_t value = 0;

    if (n_bindings == ATOMICS)
        fail("more atomic objects than the checker has");
    std::memcpy(&value, object, size);
    binding &to = bindings[n_bindings++];
    to.object = object;
    to.name = name;
    to.size = size;
    ::new (to.place) word(value);
    std::memset(object, 0xA5, size);
}

void model_expect(bool holds, const char *what)
{
    if (!holds)
        fail(what);
}

unsigned model_choose(unsigned n)
{
    return rl::rand(n);
}

void model_yield(void)
{
    rl::ctx().yield(1, here("yield", ""));
    if (checked->resumed)
        checked->resumed(self());
}

void model_write(unsigned cell)
{
    running->cells[cell](here("write", "a cell")).store(1);
}

void model_read(unsigned cell)
{
    running->cells[cell](here("read", "a cell")).load();
}

// ---- what stands in for lib/os ----

void model_lock(const void *lock)
{
    system_call now;

    mutex_of(lock).lock(here("lock", ""));
}

bool model_try_lock(const void *lock)
{
    system_call now;

    return mutex_of(lock).try_lock(here("try to lock", ""));
}

void model_unlock(const void *lock)
{
    system_call now;

    mutex_of(lock).unlock(here("unlock", ""));
}

// To the C memory model a futex orders nothing, so what relacy's wake hands to
// the sleeper is taken back: the clocks of other threads as it knew them.
bool model_sleep(const void *object, uint32_t expected, bool timed)
{
    rl::context &context = rl::ctx();
    binding &to = find(object);
    rl::unpark_reason reason = rl::unpark_reason_normal;
    system_call now;

    context.sched();
    if (to.atomic().debug_value() == expected) {
        rl::thread_info<MODEL_THREADS> &mine = clocks();
        rl::timestamp_t known[MODEL_THREADS];
        std::memcpy(known, mine.acq_rel_order_, sizeof known);
        reason = to.atomic().wait(context, timed, restless, here("sleep", to.name));
        for (unsigned i = 0; i < MODEL_THREADS; i++)
            if (i != self())
                mine.acq_rel_order_[i] = known[i];
    }
    return reason != rl::unpark_reason_timeout;
}

void model_wake(const void *object, int n)
{
    rl::context &context = rl::ctx();
    binding &to = find(object);
    system_call now;

    context.sched();
    to.atomic().wake(context, n, here("wake", to.name));
}

// Others go on between the barriers of two threads, and before and after all.
void model_barrier_everywhere(void)
{
    rl::context &context = rl::ctx();
    rl::thread_info<MODEL_THREADS> &mine = clocks();
    system_call now;

    context.sched();
    mine.atomic_thread_fence_seq_cst(context.seq_cst_fence_order_);
    for (rl::thread_info<MODEL_THREADS> *other : running->begun) {
        context.sched();
        if (other && other != &mine)
            other->atomic_thread_fence_seq_cst(context.seq_cst_fence_order_);
    }
    mine.atomic_thread_fence_seq_cst(context.seq_cst_fence_order_);
}

bool model_call(const char *function, const char *object)
{
    bool hit = mutant && mutant->kind == MODEL_CALL && !strcmp(mutant->function, function) &&
               !strcmp(mutant->object, object);

    mutated += hit;
    return !hit;
}

uint64_t model_peek(const void *object)
{
    return find(object).atomic().debug_value();
}

// ---- what the operations of stdatomic.h become ----

uint64_t model_load(const void *object, size_t, const char *function, enum model_order order)
{
    operation op(object, function, MODEL_LOAD);

    return load(op, op.order(order));
}

void model_store(void *object, size_t size, const char *function, uint64_t value,
                 enum model_order order)
{
    operation op(object, function, MODEL_STORE);

    store(op, cut(value, size), op.order(order));
}

uint64_t model_exchange(void *object, size_t size, const char *function, uint64_t value,
                        enum model_order order)
{
    return update(object, size, function, order, rl::rmw_type_t<rl::rmw_type_swap>(),
                  cut(value, size), [=](uint64_t) { return value; });
}

uint64_t model_add(void *object, size_t size, const char *function, uint64_t value,
                   enum model_order order)
{
    return update(object, size, function, order, rl::rmw_type_t<rl::rmw_type_add>(), value,
                  [=](uint64_t was) { return was + value; });
}

uint64_t model_or(void *object, size_t size, const char *function, uint64_t value,
                  enum model_order order)
{
    return update(object, size, function, order, rl::rmw_type_t<rl::rmw_type_or>(),
                  cut(value, size), [=](uint64_t was) { return was | value; });
}

uint64_t model_and(void *object, size_t size, const char *function, uint64_t value,
                   enum model_order order)
{
    return update(object, size, function, order, rl::rmw_type_t<rl::rmw_type_and>(), value,
                  [=](uint64_t was) { return was & value; });
}

bool model_swap(void *object, size_t size, const char *function, void *seen, uint64_t value,
                enum model_order order, enum model_order otherwise, bool weak)
{
    operation op(object, function, MODEL_UPDATE);
    uint64_t expected = 0;

    std::memcpy(&expected, seen, size);
    bool done =
        swap(op, expected, cut(value, size), op.order(order), op.otherwise(otherwise), weak);
    std::memcpy(seen, &expected, size);
    return done;
}
