/* SPDX-License-Identifier: MIT */
/*
 * soon_imap: a stream in chunks over an executor.
 *
 *     source --pull--> chunk being filled --send--> chunks in flight
 *            --(in order, or as completed)--> chunk being read --next--> reader
 *
 * Items pulled and not yet given to the reader number at most buffer_size.
 * All of it happens in the thread that calls next, under the turn lock.
 */
#include "core/batch.h"
#include "core/block.h"
#include "core/error.h"
#include "core/executor.h"
#include "core/fork.h"
#include "core/last_error.h"
#include "core/mem.h"
#include "core/misuse.h"
#include "core/wait.h"

#include <errno.h>
#include <soon/map.h>
#include <soon/wait.h>
#include <string.h>

struct chunk {
    struct chunk *next, *prev; /* in flight, in the order of the items */
    soon_future *future;
    size_t items;
};

struct soon_imap {
    soon__lock turn;
    _Atomic(const void *) holder; /* whose turn: the address of its soon__self. Sync: atomic */
    _Atomic unsigned users;       /* threads inside. Sync: atomic */
    uint32_t birthplace;          /* Sync: const: the fork generation */

    /* Sync: all of the rest: const after new, or the turn */
    soon_executor *ex; /* a reference */
    soon_fn *fn;
    soon_source_fn *source_fn;
    void *source;
    size_t chunk_size, buffer_size;
    bool unordered, keep_going;
    soon_ns deadline;

    struct soon__batch filling; /* items in it are pulled but not sent */
    bool begun;                 /* filling has its header */
    struct chunk *first, *last; /* in flight */
    soon_as_completed *done;    /* if unordered: the same chunks */
    size_t ahead;               /* items pulled and not yet given to the reader */
    bool dry;                   /* the source has ended */
    int source_error;           /* the source's, or 0 */
    int send_error;             /* why no more is sent, or 0 */

    soon_future *reading; /* whose results are given out, or NULL */
    struct soon__batch_reader reader;
    size_t unread; /* items of it not given out */
    bool over;     /* next returns 0 from now on */

    soon_error error; /* what next reported last */
    char *message;    /* its message, if that is an item's, or NULL */
};

/* ---- pulling and sending ---- */

static int pull(soon_imap *it)
{
    const void *item = NULL;
    size_t len = 0;

    int got = it->source_fn(it->source, &item, &len);
    if (got <= 0) {
        it->dry = true;
        it->source_error = got;
        return 0;
    }
    if (!item && len) {
        it->dry = true;
        it->source_error = -EINVAL;
        return 0;
    }
    int error = it->begun ? 0 : soon__batch_begin(&it->filling, it->keep_going);
    if (!error)
        error = soon__batch_add(&it->filling, item, len);
    if (error)
        return error;
    it->begun = true;
    it->ahead++;
    return 0;
}

static void link_chunk(soon_imap *it, struct chunk *chunk)
{
    chunk->prev = it->last;
    *(it->last ? &it->last->next : &it->first) = chunk;
    it->last = chunk;
}

static void unlink_chunk(soon_imap *it, struct chunk *chunk)
{
    *(chunk->prev ? &chunk->prev->next : &it->first) = chunk->next;
    *(chunk->next ? &chunk->next->prev : &it->last) = chunk->prev;
}

static int submit_chunk(soon_imap *it, struct chunk *chunk)
{
    soon__batch_set_cookie(&it->filling, (uintptr_t)chunk);
    soon_task task = {.fn = it->fn, .arg = it->filling.bytes, .arg_len = it->filling.len};
    int error = soon__submit(it->ex, &task, SOON__IS_BATCH, it->deadline, &chunk->future);
    if (error || !it->unordered)
        return error;
    error = soon_as_completed_add(it->done, chunk->future);
    if (error) {
        soon_future_cancel(chunk->future);
        soon_future_unref(chunk->future);
    }
    return error;
}

/* Sends what is being filled. It stays there if it can't be sent. */
static int send_chunk(soon_imap *it)
{
    struct chunk *chunk = soon__zalloc(sizeof *chunk);
    if (!chunk)
        return -ENOMEM;
    chunk->items = it->filling.items;
    int error = submit_chunk(it, chunk);
    if (error) {
        soon__free(chunk, sizeof *chunk);
        return error;
    }
    link_chunk(it, chunk);
    it->begun = false;
    return 0;
}

static bool full(const soon_imap *it)
{
    return it->begun && (it->dry || it->filling.items == it->chunk_size);
}

/* Pulls and sends as far as the buffer allows. A queue that rejects for being
 * full is no error while a chunk of ours is out: its end makes room. Any
 * other error ends the stream, after the items that have been sent. */
static int fill_buffer(soon_imap *it)
{
    int error = 0;

    while (!error) {
        if (full(it) && (error = send_chunk(it)) != 0)
            break;
        if (it->dry || it->ahead == it->buffer_size)
            return 0;
        error = pull(it);
    }
    if (error == -EAGAIN && (it->first || it->unread))
        return 0;
    it->dry = true;
    it->begun = false;
    it->send_error = error;
    return it->first || it->unread ? 0 : error;
}

/* ---- reading ---- */

static void drop_reading(soon_imap *it)
{
    soon_future_unref(it->reading);
    it->reading = NULL;
    it->unread = 0;
}

/* The end: nothing more is sent, what is out is asked to stop. */
static void finish(soon_imap *it)
{
    struct chunk *next;

    it->over = true;
    it->dry = true;
    it->begun = false;
    for (struct chunk *chunk = it->first; chunk; chunk = next) {
        next = chunk->next;
        soon_future_cancel(chunk->future);
        soon_future_unref(chunk->future);
        soon__free(chunk, sizeof *chunk);
    }
    it->first = it->last = NULL;
    soon_as_completed_free(it->done);
    it->done = NULL;
}

/* Waits for the next chunk to be read: 0 or an error. */
static int next_chunk(soon_imap *it, struct chunk **out)
{
    soon_future *f;

    if (!it->unordered) {
        *out = it->first;
        return soon_future_wait(it->first->future, soon__remaining(it->deadline));
    }
    int got = soon_as_completed_next(it->done, soon__remaining(it->deadline), &f);
    if (got < 0)
        return got;
    *out = (struct chunk *)(uintptr_t)soon__batch_cookie(f);
    soon_future_unref(f);
    return 0;
}

static int open_chunk(soon_imap *it)
{
    struct chunk *chunk;
    const void *bytes;

    /* Also where results are always there, as from an inline executor. */
    int error = soon__remaining(it->deadline) == 0 ? -ETIMEDOUT : next_chunk(it, &chunk);
    if (error)
        return error;
    unlink_chunk(it, chunk);
    it->reading = chunk->future;
    it->unread = chunk->items;
    soon__free(chunk, sizeof *chunk);
    it->reader = (struct soon__batch_reader){0};
    if (soon_future_value(it->reading, 0, &bytes, &it->reader.left) == 0)
        it->reader.at = bytes;
    return 0;
}

/* ---- reporting ---- */

static int report(soon_imap *it, const soon_error *error, bool goes_on)
{
    it->error = *error;
    if (!goes_on)
        finish(it);
    return error->code > 0 ? -error->code : error->code;
}

/* An error that is no item's ends the stream. */
static int report_own(soon_imap *it, int code, int origin)
{
    return report(it, &(soon_error){.code = code, .origin = origin, .message = soon__text(code)},
                  false);
}

/* The chunk as a whole failed, or its results are fewer than its items, which
 * only those of a chunk that was asked to stop may be: one error stands for
 * all the items it leaves behind. */
static int report_chunk(soon_imap *it)
{
    soon_error error = {0};

    soon__error_of(it->reading, &error);
    if (error.code == 0)
        error = (soon_error){.code = -EBADMSG,
                             .origin = SOON_FROM_WORKER,
                             .message = "the worker's results for a chunk make no sense"};
    it->ahead -= it->unread;
    it->unread = 0;
    return report(it, &error, it->keep_going);
}

/* An item's error. The message is copied, since its end can be relied on only
 * in memory that no worker writes to. */
static int report_item(soon_imap *it, const struct soon__batch_result *result)
{
    char text[SOON__MESSAGE_MAX];
    size_t len = result->len < sizeof text ? result->len : sizeof text - 1;

    memcpy(text, result->bytes, len);
    text[len] = '\0';
    it->message = soon__copy_string(text);
    return report(it,
                  &(soon_error){.code = result->code,
                                .origin = SOON_FROM_TASK,
                                .message = it->message ? it->message : soon__text(result->code)},
                  it->keep_going);
}

/* The next item of the chunk being read. */
static int give(soon_imap *it, const void **value, size_t *len)
{
    struct soon__batch_result result;

    if (!soon__batch_read(&it->reader, &result))
        return report_chunk(it);
    it->unread--;
    it->ahead--;
    if (result.code)
        return report_item(it, &result);
    *value = result.bytes;
    *len = result.len;
    return 1;
}

static int next(soon_imap *it, const void **value, size_t *len)
{
    soon__free_string(it->message);
    it->message = NULL;
    it->error = (soon_error){.message = ""};
    if (it->unread == 0)
        drop_reading(it);
    if (it->over)
        return 0;
    int error = fill_buffer(it);
    if (!error && it->unread == 0 && it->first)
        error = open_chunk(it);
    if (error)
        return report_own(it, error, SOON_FROM_LIBRARY);
    if (it->unread)
        return give(it, value, len);
    if (it->send_error || it->source_error)
        return report_own(it, it->send_error ? it->send_error : it->source_error,
                          it->send_error ? SOON_FROM_LIBRARY : SOON_FROM_TASK);
    finish(it);
    return 0;
}

/* ---- the calls ---- */

static int take_turn(soon_imap *it)
{
    if (atomic_load(&it->holder) == &soon__self)
        return -EDEADLK; /* the source, or a task run in place, calls back in */
    atomic_fetch_add(&it->users, 1);
    if (!soon__lock_try(&it->turn)) {
        soon_flush_callbacks();
        soon__blocking(true);
        soon__lock_acquire(&it->turn);
        soon__blocking(false);
    }
    atomic_store(&it->holder, &soon__self);
    return 0;
}

static void end_turn(soon_imap *it)
{
    atomic_store(&it->holder, NULL);
    soon__lock_release(&it->turn);
    atomic_fetch_sub(&it->users, 1);
}

static int check(const soon_imap *it)
{
    if (!it)
        return -EINVAL;
    return it->birthplace == soon__generation() ? 0 : -ENOTRECOVERABLE;
}

int soon_imap_next(soon_imap *it, const void **value, size_t *len)
{
    int error = check(it);

    if (error || !value || !len)
        return error ? error : -EINVAL;
    error = take_turn(it);
    if (error)
        return error;
    int result = next(it, value, len);
    end_turn(it);
    return result;
}

int soon_imap_error(soon_imap *it, soon_error *out)
{
    int error = check(it);

    if (error || !out)
        return error ? error : -EINVAL;
    error = take_turn(it);
    if (error)
        return error;
    *out = it->error;
    end_turn(it);
    return 0;
}

static void configure(soon_imap *it, const soon_map_options *options)
{
    size_t chunk = options->chunk_size ? options->chunk_size : 1, buffer = options->buffer_size;

    if (chunk > UINT32_MAX)
        chunk = UINT32_MAX;
    if (!buffer && __builtin_mul_overflow(chunk, (size_t)2 * it->ex->core->workers, &buffer))
        buffer = SIZE_MAX;
    it->buffer_size = buffer;
    it->chunk_size = chunk < buffer ? chunk : buffer;
    it->unordered = options->unordered;
    it->keep_going = options->keep_going;
    it->deadline = soon__deadline(options->timeout ? options->timeout : SOON_FOREVER);
}

int soon_imap_new(soon_executor *ex, soon_fn *fn, soon_source_fn *next_item, void *source,
                  const soon_map_options *options, soon_imap **out)
{
    static const soon_map_options defaults;
    int error = soon__explain(ex, soon__executor_check(ex));

    if (error)
        return error;
    if (!options)
        options = &defaults;
    if (!fn || !next_item || !out || options->timeout < 0 ||
        !soon__reserved_unused(options->reserved, 4))
        return -EINVAL;
    soon_imap *it = soon__zalloc(sizeof *it);
    if (!it)
        return -ENOMEM;
    error = soon__executor_try_ref(ex);
    if (error) {
        soon__free(it, sizeof *it);
        return error;
    }
    it->birthplace = soon__generation();
    it->ex = ex;
    it->fn = fn;
    it->source_fn = next_item;
    it->source = source;
    it->error.message = "";
    configure(it, options);
    if (it->unordered)
        error = soon_as_completed_new(NULL, 0, &it->done);
    if (!error) {
        atomic_store(&it->holder, &soon__self);
        error = fill_buffer(it);
        atomic_store(&it->holder, NULL);
    }
    if (error) {
        soon_imap_free(it);
        return error;
    }
    *out = it;
    return 0;
}

void soon_imap_free(soon_imap *it)
{
    if (!it || it->birthplace != soon__generation())
        return;
    if (atomic_load(&it->users))
        soon__misuse("soon_imap_free: another thread is inside");
    finish(it);
    drop_reading(it);
    soon__free_string(it->message);
    soon__batch_free(&it->filling);
    soon_executor_unref(it->ex);
    soon__free(it, sizeof *it);
}
