/* SPDX-License-Identifier: MIT */
#include "core/thread.h"

#include "core/call.h"
#include "os/thread.h"

/* Left for the task that runs on top: its frames, signal handlers, libc. */
enum { STACK_RESERVE = 128 << 10 };

_Thread_local struct soon__thread soon__self;

bool soon__within(const soon_executor *ex)
{
    if (soon__self.worker_of == ex)
        return true;
    for (const soon_call *call = soon__self.call; call; call = call->outer)
        if (call->counted && call->future->executor == ex)
            return true;
    return false;
}

bool soon__stack_left(void)
{
    /* The frame's address, and not a local's, which a sanitizer may keep on a
     * stack of its own. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (!soon__self.stack_low) {
        uintptr_t low = soon__thread_stack_low();
        soon__self.stack_low = low ? low : UINTPTR_MAX;
    }
    /* A fiber's stack is not the thread's: then nothing is known either. */
    return here < soon__self.stack_low || here - soon__self.stack_low > STACK_RESERVE;
}
