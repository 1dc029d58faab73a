/* SPDX-License-Identifier: MIT */
#include "os/thread.h"

#include "os/inject.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NAME_SIZE = 16 }; /* TASK_COMM_LEN */

int soon__thread_stack_size(size_t *stack_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (*stack_size == 0)
        return 0;
    if (*stack_size < (size_t)PTHREAD_STACK_MIN || *stack_size > SIZE_MAX - page)
        return -EINVAL;
    *stack_size = (*stack_size + page - 1) / page * page;
    return 0;
}

int soon__thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, saved;
    int error;

    if (soon__inject(SOON__INJECT_THREAD))
        return -EAGAIN;
    pthread_attr_init(&attr);
    if (stack_size)
        pthread_attr_setstacksize(&attr, stack_size);
    /* A thread inherits the mask of its creator: block, create, restore, so
     * that there is no moment in which it could take a signal. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    error = pthread_create(thread, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    pthread_attr_destroy(&attr);
    return -error;
}

void soon__thread_name(const char *base, unsigned number)
{
    char name[NAME_SIZE], suffix[NAME_SIZE];
    size_t tail = (size_t)snprintf(suffix, sizeof suffix, "-%u", number);
    size_t head = strnlen(base, sizeof name - 1 - tail);

    memcpy(name, base, head);
    memcpy(name + head, suffix, tail + 1);
    pthread_setname_np(pthread_self(), name);
}

/* Is this the stack that the process began with? The kernel put some bytes
 * above it, past arguments and environment, which are a few MiB at most; every
 * other stack is much further down. Not who asks tells: a process that a thread
 * forked has that thread's stack, and is its own first thread. */
static bool is_first_stack(uintptr_t low, size_t size)
{
    const uintptr_t arguments_max = 16 << 20;
    uintptr_t above = getauxval(AT_RANDOM);

    return above >= low && (above - low < size || above - low - size < arguments_max);
}

/* The first thread's stack grows on demand, down to its limit; glibc takes the
 * next mapping below for the end, which under valgrind lies close. */
static uintptr_t main_stack_low(uintptr_t low, size_t size)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= low + size)
        return 0;
    return limit.rlim_cur > size ? low + size - limit.rlim_cur : low;
}

uintptr_t soon__thread_stack_low(void)
{
    pthread_attr_t attr;
    void *low;
    size_t size;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return 0;
    int error = pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    if (error)
        return 0;
    return is_first_stack((uintptr_t)low, size) ? main_stack_low((uintptr_t)low, size)
                                                : (uintptr_t)low;
}
