/* SPDX-License-Identifier: MIT */
/*
 * Fork and join: a task waits for what it has submitted itself, which is most
 * likely still in the worker's own deque, and runs it right here.
 *
 * It takes the same steps as soon__run_in_place() and soon__settle(), with what is
 * known of such a task and such a thread: it has nothing but a function and a small
 * argument; it is counted in the thread's own shard, for which a drain waits with
 * the outer task (call->own says so); and its entry in the deque is taken out while
 * it is claimed (deque.h).
 *
 * Its reference, the queue's, is the thread's then, and goes in the same step in
 * which the task is done, if nobody else has to be told of that.
 */
#include "core/error.h"
#include "core/transition.h"
#include "core/wait.h"

#include <errno.h>

/* Claimed, but somebody else took the entry away in this moment: and will find that
 * it was too late. */
static __attribute__((noinline, cold)) void run_stolen(soon_future *f)
{
    soon__count_begun(f->executor, f, SOON__N_HELPED);
    soon__withdraw(f->executor, f);
    soon_call call;
    soon__settle_call(f, soon__call_run(&call, f, f->executor));
}

/* It has failed, or has a large result, or a message; or it has forked, and this is
 * the child; or it has left its pool. */
static __attribute__((noinline, cold)) void settle_slowly(soon_future *f, soon_call *call, int code)
{
    soon__call_deliver_all(call, code);
    soon__settle_call(f, code);
    soon__future_drop(f, 1); /* the queue's */
}

/* Makes f done in the order of soon__settle(), and drops the queue's reference. */
static inline void settle_plain(soon_future *f, size_t result)
{
    struct soon__tally *mine = soon__self.tally;

    f->value_len = (uint8_t)result;
    soon__bump(mine, SOON__N_BYTES_OUT, result);
    soon__bump(mine, SOON__N_FINISHED, 1);
    bool heeded = soon__finish_queued(f);
    soon__release_own(mine);
    if (heeded)
        soon__run_callbacks();
}

/* NOT_RUN: not the youngest, or somebody else was faster, or there is no stack left.
 * PLAIN: its result is in call->room. */
enum joined { NOT_RUN, RUN, PLAIN };

static inline __attribute__((always_inline)) enum joined join(soon_future *f, soon_call *call)
{
    struct soon__deque *own = soon__self.deque;
    soon_executor *ex = f->executor;
    size_t len = f->arg_len;

    if (!own)
        return NOT_RUN;
    int64_t at = soon__deque_youngest(own, f);
    if (at < 0 || !soon__stack_left_above(soon__self.stack_low))
        return NOT_RUN;
    soon__deque_begin_take(own, at);
    bool claimed = soon__begin_call(f);
    if (!soon__deque_end_take(own, at, claimed)) {
        if (claimed)
            run_stolen(f);
        return claimed ? RUN : NOT_RUN;
    }
    soon__bump(soon__self.tally, SOON__N_HELPED, 1);
    soon__call_init(call, f, ex, soon__round16(len));
    soon__self.call = call;
    int code = f->fn(call, len ? f->payload : NULL, len);
    soon__self.call = call->outer;
    if (code || call->result.blob || call->message || call->outer->own != ex) {
        settle_slowly(f, call, code);
        return RUN;
    }
    if (soon__self.deque->n_dead)
        soon__clear_deque();
    settle_plain(f, call->result.len);
    return PLAIN;
}

bool soon__join(soon_future *f)
{
    soon_call call;

    return join(f, &call) != NOT_RUN;
}

__attribute__((noinline)) int soon__join_result(soon_future *f, soon_ns timeout, void *value,
                                                size_t len)
{
    soon_call call;

    if (join(f, &call) != PLAIN) /* run or not, it knows what to do */
        return soon__wait_result(f, timeout, value, len);
    if (len != call.result.len)
        return -EMSGSIZE;
    soon__copy_small(value, call.room, len);
    return 0;
}
