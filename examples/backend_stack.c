/* SPDX-License-Identifier: MIT */
/* The stack of the executor in backend_lifo.c. See backend.h. */
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <soon/backend.h>

void stack_init(struct stack *stack)
{
    *stack = (struct stack){0};
    pthread_mutex_init(&stack->lock, NULL);
    pthread_cond_init(&stack->not_idle, NULL);
}

void stack_destroy(struct stack *stack)
{
    pthread_mutex_destroy(&stack->lock);
    pthread_cond_destroy(&stack->not_idle);
    free(stack->futures);
}

static bool make_room(struct stack *stack, size_t n)
{
    if (stack->room - stack->count >= n)
        return true;
    size_t room = 2 * (stack->count + n);
    soon_future **futures = realloc(stack->futures, room * sizeof futures[0]);
    if (futures == NULL)
        return false;
    stack->futures = futures;
    stack->room = room;
    return true;
}

int stack_push(struct stack *stack, soon_future *chain, size_t n)
{
    pthread_mutex_lock(&stack->lock);
    int err = stack->closed ? -ESHUTDOWN : make_room(stack, n) ? 0 : -ENOMEM;
    for (soon_future *f = chain; err == 0 && f != NULL; f = soon_future_next(f))
        stack->futures[stack->count++] = f;
    pthread_cond_signal(&stack->not_idle);
    pthread_mutex_unlock(&stack->lock);
    return err;
}

soon_future *stack_top(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->count == 0 && !stack->closed)
        pthread_cond_wait(&stack->not_idle, &stack->lock);
    soon_future *f = stack->count > 0 ? soon_future_ref(stack->futures[stack->count - 1]) : NULL;
    pthread_mutex_unlock(&stack->lock);
    return f;
}

/* Looks from the top, for what is removed is near it as a rule. */
void stack_remove(struct stack *stack, soon_future *f)
{
    pthread_mutex_lock(&stack->lock);
    size_t above = stack->count;
    while (above > 0 && stack->futures[above - 1] != f)
        above--;
    if (above > 0) {
        memmove(&stack->futures[above - 1], &stack->futures[above],
                (stack->count - above) * sizeof stack->futures[0]);
        stack->count--;
    }
    pthread_mutex_unlock(&stack->lock);
    if (above > 0)
        soon_future_unref(f);
}

void stack_close(struct stack *stack, bool cancel)
{
    struct stack left = {0};
    pthread_mutex_lock(&stack->lock);
    stack->closed = true;
    if (cancel) {
        left.futures = stack->futures;
        left.count = stack->count;
        stack->futures = NULL;
        stack->count = stack->room = 0;
    }
    pthread_cond_signal(&stack->not_idle);
    pthread_mutex_unlock(&stack->lock);
    while (left.count > 0) {
        soon_future *f = left.futures[--left.count];
        /* One that runs is here too, and is not asked to stop. */
        if (soon_future_state(f) == SOON_PENDING)
            soon_future_cancel(f);
        soon_future_unref(f);
    }
    free(left.futures);
}
