/* SPDX-License-Identifier: MIT */
#include "core/thread.h"

#include "core/call.h"
#include "core/deque.h"
#include "core/executor.h"
#include "os/thread.h"

_Thread_local struct soon__thread soon__self;

bool soon__runs_task_of(const soon_executor *ex)
{
    for (const soon_call *call = soon__self.call; call; call = call->outer)
        if (call->future->executor == ex)
            return true;
    return false;
}

void soon__disown(void)
{
    soon__self.tally = NULL;
    soon__self.deque = soon__self.fork_deque = soon__self.forks = NULL;
    for (soon_call *call = soon__self.call; call; call = call->outer) {
        call->own = NULL;
        soon__call_more(call); /* not as plain as it was */
    }
}

void soon__deque_adopt(struct soon__deque *d)
{
    uintptr_t low = soon__find_stack();

    d->executor = soon__self.worker_of;
    d->fresh = soon__fresh(d->executor->core->birthplace, 2);
    d->stack_low = low == UINTPTR_MAX ? 0 : low + SOON__STACK_RESERVE;
    soon__self.deque = d;
    soon__self.fork_deque = soon__self.tally && d->executor->core->forks ? d : NULL;
}

void soon__deque_retire(void)
{
    soon__self.fork_deque = NULL;
}

uintptr_t soon__find_stack(void)
{
    uintptr_t low = soon__thread_stack_low();

    return soon__self.stack_low = low ? low : UINTPTR_MAX;
}
