/* SPDX-License-Identifier: MIT */
/*
 * Fork and join: a task waits for what it has submitted itself, which is most
 * likely still in the worker's own deque, and runs it right here.
 *
 * It takes the same steps as soon__run_in_place() and soon__settle(), with what is
 * known of such a task and such a thread: it has nothing but a function and a small
 * argument; it is counted in the thread's own shard, for which a drain waits with
 * the outer task (soon__self.forks says so); and its entry in the deque is taken out while
 * it is claimed (deque.h).
 *
 * Its reference, the queue's, is the thread's then, and goes in the same step in
 * which the task is done, if nobody else has to be told of that.
 *
 * An entry below that was joined before this one is taken out now: it is the
 * youngest, before this task forks others.
 */
#include "core/join.h"

#include "core/error.h"
#include "core/wait.h"

#include <errno.h>

__attribute__((noinline, cold)) void soon__run_stolen(soon_future *f)
{
    soon__count_begun(f->executor, f, SOON__N_HELPED);
    soon__withdraw(f->executor, f);
    soon_call call;
    soon__settle_call(f, soon__call_run(&call, f, f->executor));
}

/* It has failed, or has a large result, or a message; or it has forked, and this is
 * the child; or it has left its pool. */
static __attribute__((noinline, cold)) void settle_slowly(soon_future *f, int code)
{
    soon_call *call = soon__self.call;

    soon__self.call = call->outer;
    soon__call_deliver_all(call, code);
    soon__settle_call(f, code);
    soon__future_drop(f, 1); /* the queue's */
}

/* Makes f done in the order of soon__settle(), and drops the queue's reference. */
static inline void settle_plain(const struct soon__deque *own, soon_future *f, size_t result)
{
    f->value_len = (uint8_t)result;
    soon__bump_joined(soon__self.tally, result);
    if (soon__unlikely(soon__finish_fork(own, f)))
        soon__run_callbacks();
}

/* False: its result is not just bytes in f, or not there. */
static inline __attribute__((always_inline)) bool run_child(const struct soon__deque *own,
                                                            soon_future *f, soon_call *call)
{
    size_t len = f->arg_len;

    if (soon__unlikely(own->n_dead))
        soon__clear_deque();
    soon__bump(soon__self.tally, SOON__N_HELPED, 1);
    soon__call_init(call, f, own->executor);
    soon__self.call = call; /* soon__self.forks is as for the outer task */
    int code = f->fn(call, len ? f->payload : NULL, len);
    unsigned unusual = (unsigned)code | call->odd;
    if (soon__unlikely(unusual)) {
        settle_slowly(f, code);
        return false;
    }
    soon__self.call = call->outer;
    settle_plain(own, f, call->len);
    return true;
}

__attribute__((noinline)) void soon__run_child(soon_future *f)
{
    soon_call call;

    run_child(soon__self.forks, f, &call);
}

static inline void copy_value(const soon_future *f, void *value, size_t len)
{
    /* Of most, a word, the place does not depend on it. */
    if (!soon__likely(soon__move_word(value, soon__value_at(f, SOON__WORD_ROOM), len)))
        soon__copy_small(value, soon__value_at(f, len), len);
}

/* In the child of a fork, and when another was faster, the library knows better. */
__attribute__((noinline)) SOON__HOT SOON__NO_CANARY int
soon__join_result(soon_future *f, soon_ns timeout, void *value, size_t len)
{
    struct soon__deque *own = soon__self.forks;
    soon_call call;

    enum soon__taken taken = soon__take_child(own, f);
    if (soon__unlikely(taken != SOON__TAKEN)) {
        if (taken == SOON__STOLEN)
            soon__run_stolen(f);
        return soon__wait_result(f, timeout, value, len);
    }
    if (soon__unlikely(!run_child(own, f, &call)))
        return soon__wait_result(f, timeout, value, len);
    if (soon__unlikely(len != call.len))
        return -EMSGSIZE;
    copy_value(f, value, len);
    return 0;
}
