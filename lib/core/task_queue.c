/* SPDX-License-Identifier: MIT */
/*
 * A queue of futures by priority, with ageing: see soon/backend.h.
 *
 * Ageing counts turns and not time: every pop that finds an older kind of
 * work waiting behind a higher lane makes it one turn older, and a lane that
 * has been passed over AGE times is served once. So under an endless stream
 * of higher work a lane gets one turn in AGE + 1, whatever the speed.
 */
#include <soon/backend.h>

#include "core/future.h"

enum { LANES = 3, AGE = 64 };

static unsigned lane_of(const soon_future *f)
{
    return (unsigned)(SOON_PRIORITY_HIGH - f->priority);
}

void soon_task_queue_push(struct soon_task_queue *queue, soon_future *chain)
{
    while (chain) {
        soon_future *f = chain;
        unsigned lane = lane_of(f);

        chain = f->next;
        f->next = NULL;
        if (queue->lane[lane].tail)
            queue->lane[lane].tail->next = f;
        else
            queue->lane[lane].head = f;
        queue->lane[lane].tail = f;
        queue->count++;
    }
}

static int lane_to_serve(struct soon_task_queue *queue)
{
    int first = -1, aged = -1;

    for (int i = 0; i < LANES; i++) {
        if (!queue->lane[i].head)
            queue->lane[i].passed_over = 0;
        else if (first < 0)
            first = i;
        else if (++queue->lane[i].passed_over > AGE && aged < 0)
            aged = i;
    }
    return aged < 0 ? first : aged;
}

/* Cuts up to max futures off the head of a lane. */
static soon_future *cut(struct soon_task_queue *queue, int lane, size_t max)
{
    soon_future *head = queue->lane[lane].head, *last = head;
    size_t n = 1;

    for (; n < max && last->next; n++)
        last = last->next;
    queue->lane[lane].head = last->next;
    if (!last->next)
        queue->lane[lane].tail = NULL;
    last->next = NULL;
    queue->count -= n;
    queue->lane[lane].passed_over = 0;
    for (int i = lane + 1; i < LANES && queue->lane[i].head; i++)
        queue->lane[i].passed_over += (unsigned)(n - 1);
    return head;
}

soon_future *soon_task_queue_pop_chain(struct soon_task_queue *queue, size_t max)
{
    int lane = lane_to_serve(queue);

    if (lane < 0)
        return NULL;
    return cut(queue, lane, lane == SOON_PRIORITY_HIGH - SOON_PRIORITY_NORMAL ? max : 1);
}

soon_future *soon_task_queue_pop(struct soon_task_queue *queue)
{
    return soon_task_queue_pop_chain(queue, 1);
}

void soon_task_queue_return(struct soon_task_queue *queue, soon_future *f)
{
    unsigned lane = lane_of(f);

    f->next = queue->lane[lane].head;
    queue->lane[lane].head = f;
    if (!queue->lane[lane].tail)
        queue->lane[lane].tail = f;
    queue->count++;
}

soon_future *soon_task_queue_sweep(struct soon_task_queue *queue)
{
    soon_future *swept = NULL;

    for (int i = 0; i < LANES; i++) {
        soon_future **link = &queue->lane[i].head, *last = NULL, *f;

        while ((f = *link)) {
            if (soon__pending(soon__state(f))) {
                last = f;
                link = &f->next;
                continue;
            }
            *link = f->next;
            f->next = swept;
            swept = f;
            queue->count--;
        }
        queue->lane[i].tail = last;
    }
    return swept;
}
