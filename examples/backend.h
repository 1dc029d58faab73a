/* SPDX-License-Identifier: MIT */
/* The parts of backend: an executor (backend_lifo.c) and what it keeps its futures on
 * (backend_stack.c). */
#ifndef EXAMPLES_BACKEND_H
#define EXAMPLES_BACKEND_H

#include <pthread.h>
#include <soon.h>

/* An executor with one thread that runs the newest task first, whatever its priority. 0;
 * -ENOMEM; -EAGAIN: no thread. */
int lifo_new(soon_executor **out);

/* A stack that any thread may use. It holds a reference to every future on it. */
struct stack {
    pthread_mutex_t lock;    /* guards the rest; not held while a future is cancelled or dropped, */
    pthread_cond_t not_idle; /* for that may come back in here */
    soon_future **futures;
    size_t count, room;
    bool closed;
};

void stack_init(struct stack *stack);
void stack_destroy(struct stack *stack);

/* Puts a chain of n on top: all or nothing. 0; -ESHUTDOWN; -ENOMEM. */
int stack_push(struct stack *stack, soon_future *chain, size_t n);

/* Waits for a future and returns a reference to the top one, which stays there. NULL: closed, and
 * nothing will come any more. */
soon_future *stack_top(struct stack *stack);

/* Takes f off, wherever it is, if it is there. */
void stack_remove(struct stack *stack, soon_future *f);

/* From here on nothing is put on; what is there is left, or cancelled. */
void stack_close(struct stack *stack, bool cancel);

#endif /* EXAMPLES_BACKEND_H */
