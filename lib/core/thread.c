/* SPDX-License-Identifier: MIT */
#include "core/thread.h"

#include "core/call.h"
#include "os/thread.h"

_Thread_local struct soon__thread soon__self;

bool soon__runs_task_of(const soon_executor *ex)
{
    for (const soon_call *call = soon__self.call; call; call = call->outer)
        if (call->counted && call->future->executor == ex)
            return true;
    return false;
}

uintptr_t soon__find_stack(void)
{
    uintptr_t low = soon__thread_stack_low();

    return soon__self.stack_low = low ? low : UINTPTR_MAX;
}
