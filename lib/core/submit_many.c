/* SPDX-License-Identifier: MIT */
/*
 * soon_submit_many(): the steps of a submit, each for all of its tasks at once.
 */
#include "core/submit.h"

#include "core/chain.h"
#include "core/error.h"
#include "core/future_cache.h"
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

/* Needs it no more than soon__init_plain() does? */
static bool is_plain(const soon_executor *ex, const soon_task *task)
{
    return ex->core->plain && !task->name && !task->timeout &&
           task->priority == SOON_PRIORITY_NORMAL && task->arg_len <= SOON__PAYLOAD;
}

static int add_plain(struct soon__chain *chain, soon_executor *ex, const soon_task *task,
                     uint32_t refs)
{
    soon_future *f = soon__make_plain(ex, task->fn, task->arg, task->arg_len, refs);

    if (!f)
        return -ENOMEM;
    chain->bytes_in += task->arg_len;
    soon__chain_link(chain, f);
    return 0;
}

static int add_other(struct soon__chain *chain, soon_executor *ex, const soon_task *task,
                     uint32_t refs)
{
    soon_future *f;
    int error = soon__prepare(ex, task, 0, &f);

    if (error)
        return error;
    if (refs > 1)
        soon__future_ref_first(f);
    soon__chain_add(chain, f);
    return 0;
}

/* The user's references, if there are to be any, go to refs[]: now, while the futures are
 * at hand, and since once sent the links are the backend's. */
static int prepare_many(soon_executor *ex, const soon_task *tasks, size_t n,
                        struct soon__chain *chain, soon_future **refs)
{
    int error = 0;

    for (size_t i = 0; i < n && !error; i++) {
        error = is_plain(ex, &tasks[i]) ? add_plain(chain, ex, &tasks[i], refs ? 2 : 1)
                                        : add_other(chain, ex, &tasks[i], refs ? 2 : 1);
        if (refs)
            refs[i] = chain->tail;
    }
    return error;
}

/* All or nothing. */
static int send_many(soon_executor *ex, const soon_task *tasks, size_t n, soon_future **refs)
{
    struct soon__chain chain = {0};
    int error = prepare_many(ex, tasks, n, &chain, refs);
    soon_future *head = chain.head;
    size_t made = chain.n;

    if (!error)
        error = soon__send(ex, &chain, 0, SOON__NEVER);
    if (!error)
        return 0;
    for (size_t i = 0; refs && i < made; i++)
        soon_future_unref(refs[i]);
    soon__chain_drop(head);
    return error;
}

static int submit_many(soon_executor *ex, const soon_task *tasks, size_t n, soon_future **out)
{
    soon_future *few[64], **refs = few;
    int error = check_many(ex, tasks, n);

    if (error || n == 0)
        return error;
    if (out && n > sizeof few / sizeof *few && !(refs = soon__alloc_array(n, sizeof *refs)))
        return -ENOMEM;
    error = send_many(ex, tasks, n, out ? refs : NULL);
    if (!error && out) /* which stays untouched until nothing can fail any more */
        memcpy(out, refs, n * sizeof *out);
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
