/* SPDX-License-Identifier: MIT */
/*
 * soon_submit_many(): the steps of a submit, each for all of its tasks at once.
 */
#include "core/submit.h"

#include "core/error.h"
#include "core/last_error.h"
#include "core/mem.h"

#include <errno.h>
#include <string.h>

static int check_many(soon_executor *ex, const soon_task *tasks, size_t n)
{
    soon_fn *found = NULL;
    int error = 0;

    for (size_t i = 0; i < n; i++)
        if (!soon__task_valid(&tasks[i]))
            return -EINVAL;
    for (size_t i = 0; i < n && !error; i++)
        if (tasks[i].fn != found)
            error = soon__find_function(ex, found = tasks[i].fn);
    return error;
}

static int prepare_many(soon_executor *ex, const soon_task *tasks, size_t n,
                        struct soon__chain *chain)
{
    for (size_t i = 0; i < n; i++) {
        soon_future *f;
        int error = soon__prepare(ex, &tasks[i], 0, &f);
        if (error) {
            soon__chain_drop(chain->head);
            return error;
        }
        soon__chain_add(chain, f);
    }
    return 0;
}

/* Sends a chain whose futures' second references go to refs[]. Once sent the
 * links are the backend's, so the references are taken before; and out stays
 * untouched until nothing can fail any more. */
static int send_for(soon_executor *ex, struct soon__chain *chain, soon_future **refs,
                    soon_future **out)
{
    soon_future *head = chain->head;
    size_t n = 0;

    for (soon_future *f = head; f; f = f->next) {
        soon__future_ref_first(f);
        refs[n++] = f;
    }
    int error = soon__send(ex, chain, 0, SOON__NEVER);
    if (!error) {
        memcpy(out, refs, n * sizeof *out);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        soon_future_unref(refs[i]);
    soon__chain_drop(head);
    return error;
}

static int send_detached(soon_executor *ex, struct soon__chain *chain)
{
    soon_future *head = chain->head;
    int error = soon__send(ex, chain, 0, SOON__NEVER);

    if (error)
        soon__chain_drop(head);
    return error;
}

static int submit_many(soon_executor *ex, const soon_task *tasks, size_t n, soon_future **out)
{
    soon_future *few[64], **refs = few;
    struct soon__chain chain = {0};
    int error = check_many(ex, tasks, n);

    if (error || n == 0)
        return error;
    if (out && n > sizeof few / sizeof *few && !(refs = soon__alloc_array(n, sizeof *refs)))
        return -ENOMEM;
    error = prepare_many(ex, tasks, n, &chain);
    if (!error)
        error = out ? send_for(ex, &chain, refs, out) : send_detached(ex, &chain);
    if (refs != few)
        soon__free(refs, n * sizeof *refs);
    return error;
}

int soon_submit_many(soon_executor *ex, const soon_task *tasks, size_t n, soon_future **out)
{
    int error = soon__executor_check(ex);

    if (!error && !tasks && n)
        return -EINVAL;
    return soon__explain(ex, error ? error : submit_many(ex, tasks, n, out));
}
