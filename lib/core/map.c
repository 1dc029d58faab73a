/* SPDX-License-Identifier: MIT */
/*
 * soon_map(): an array in chunks over an executor.
 *
 * Chunks travel by value and come back as the futures' results, so what runs
 * on after a timeout touches nothing of the caller's. A window of them is in
 * flight at a time; whichever is done first is taken first and its results
 * are copied to their places.
 */
#include "core/batch.h"
#include "core/executor.h"
#include "core/last_error.h"
#include "core/mem.h"

#include <errno.h>
#include <soon/map.h>
#include <soon/wait.h>
#include <string.h>

enum { CHUNK_BYTES = 512 << 10 };

struct slot {
    soon_future *future; /* or NULL: free */
    size_t first, items; /* index of its first item; how many there are */
};

/* One soon_map(), its caller's alone. */
struct map {
    soon_executor *ex;
    soon_fn *fn;
    const unsigned char *items;
    unsigned char *results;
    size_t item_size, result_size, count, chunk, next;
    bool keep_going, stopping;
    soon_ns deadline;
    soon_as_completed *done;
    struct slot *slots;
    size_t window, flying;
    struct soon__batch batch;
    size_t error_at; /* index of the item whose error it is */
    int error;
};

static void fail(struct map *map, size_t at, int error)
{
    if (!map->error || at < map->error_at) {
        map->error = error;
        map->error_at = at;
    }
}

/* What has not begun is cancelled, what runs is asked to stop. */
static void stop(struct map *map)
{
    if (map->stopping)
        return;
    map->stopping = true;
    for (size_t i = 0; i < map->window; i++)
        if (map->slots[i].future)
            soon_future_cancel(map->slots[i].future);
}

/* ---- out ---- */

static size_t free_slot(const struct map *map)
{
    size_t i = 0;

    while (map->slots[i].future)
        i++;
    return i;
}

static int fill(struct map *map, size_t slot, size_t n)
{
    int error = soon__batch_begin(&map->batch, map->keep_going);

    for (size_t i = map->next; i < map->next + n && !error; i++)
        error = soon__batch_add(&map->batch, map->items + i * map->item_size, map->item_size);
    if (!error)
        soon__batch_set_cookie(&map->batch, slot);
    return error;
}

static int send_chunk(struct map *map)
{
    size_t slot = free_slot(map), left = map->count - map->next;
    size_t n = left < map->chunk ? left : map->chunk;
    soon_future *f;

    int error = fill(map, slot, n);
    if (error)
        return error;
    soon_task task = {.fn = map->fn, .arg = map->batch.bytes, .arg_len = map->batch.len};
    error = soon__submit(map->ex, &task, SOON__IS_BATCH, map->deadline, &f);
    if (error)
        return error;
    error = soon_as_completed_add(map->done, f);
    if (error) {
        soon_future_cancel(f);
        soon_future_unref(f);
        return error;
    }
    map->slots[slot] = (struct slot){f, map->next, n};
    map->next += n;
    map->flying++;
    return 0;
}

/* A queue that rejects for being full is no error while a chunk of ours is
 * out: its end makes room. */
static bool send_one(struct map *map)
{
    if (map->stopping || map->next == map->count || map->flying == map->window)
        return false;
    int error = send_chunk(map);
    if (error == -EAGAIN && map->flying)
        return false;
    if (error) {
        fail(map, map->next, error);
        stop(map);
    }
    return !error;
}

/* ---- back ---- */

static void take_results(struct map *map, const struct slot *slot)
{
    struct soon__batch_reader reader;
    struct soon__batch_result result;
    size_t at = slot->first, end = slot->first + slot->items;
    const void *bytes;

    int error = soon_future_value(slot->future, 0, &bytes, &reader.left);
    if (error) { /* the chunk as a whole: cancelled, or its pool broke */
        if (!map->stopping || error != -ECANCELED)
            fail(map, at, error);
        return;
    }
    reader.at = bytes;
    for (; at < end && soon__batch_read(&reader, &result); at++) {
        if (!result.code && result.len != map->result_size)
            result.code = -EMSGSIZE;
        if (result.code)
            fail(map, at, result.code);
        else if (result.len)
            memcpy(map->results + at * map->result_size, result.bytes, result.len);
    }
    /* A chunk has one result for each item, unless it was asked to stop, or
     * stopped at an error, whose index is lower. */
    if (reader.left || (at < end && !map->stopping))
        fail(map, at < end ? at : slot->first, -EBADMSG);
}

static void take_chunk(struct map *map, soon_future *f)
{
    struct slot *slot = &map->slots[soon__batch_cookie(f)];

    take_results(map, slot);
    soon_future_unref(slot->future);
    slot->future = NULL;
    map->flying--;
    if (map->error && !map->keep_going)
        stop(map);
}

/* What is done is taken between any two chunks, so that an error stops the
 * rest at once. Past the deadline nothing that still runs is waited for. */
static void run(struct map *map)
{
    for (;;) {
        soon_future *f;
        bool sent = send_one(map);
        soon_ns wait = sent ? 0 : soon__remaining(map->deadline);
        int got = soon_as_completed_next(map->done, wait, &f);
        if (sent && got == -ETIMEDOUT)
            continue;
        if (got < 0) {
            map->error = got;
            stop(map);
        }
        if (got <= 0)
            return;
        take_chunk(map, f);
        soon_future_unref(f);
    }
}

/* ---- the call ---- */

/* The items shared out evenly, but not so many at once that a chunk on its way
 * falls out of every cache. */
static size_t automatic_chunk(const struct map *map, size_t tasks)
{
    size_t even = (map->count + tasks - 1) / tasks;
    size_t most = soon__batch_items_within(CHUNK_BYTES, map->item_size);

    return even < most ? even : most;
}

static int begin(struct map *map, const soon_map_options *options)
{
    size_t workers = map->ex->core->workers, tasks = 4 * workers;

    map->chunk = options->chunk_size ? options->chunk_size : automatic_chunk(map, tasks);
    if (map->chunk > UINT32_MAX)
        map->chunk = UINT32_MAX;
    map->window = tasks > 16 ? tasks : 16;
    map->slots = soon__zalloc(map->window * sizeof *map->slots);
    return map->slots ? soon_as_completed_new(NULL, 0, &map->done) : -ENOMEM;
}

static void end(struct map *map)
{
    for (size_t i = 0; map->slots && i < map->window; i++)
        soon_future_unref(map->slots[i].future);
    soon_as_completed_free(map->done);
    soon__free(map->slots, map->window * sizeof *map->slots);
    soon__batch_free(&map->batch);
}

static bool sound(const struct map *map, const soon_map_options *options)
{
    size_t bytes;

    return map->fn && map->item_size && (map->items || !map->count) &&
           (map->results || !map->count || !map->result_size) && options->timeout >= 0 &&
           soon__reserved_unused(options->reserved, 4) &&
           !__builtin_mul_overflow(map->count, map->item_size, &bytes) &&
           !__builtin_mul_overflow(map->count, map->result_size, &bytes);
}

int soon_map(soon_executor *ex, soon_fn *fn, const void *items, size_t item_size, size_t count,
             void *results, size_t result_size, const soon_map_options *options)
{
    static const soon_map_options defaults;
    struct map map = {.ex = ex,
                      .fn = fn,
                      .items = items,
                      .item_size = item_size,
                      .count = count,
                      .results = results,
                      .result_size = result_size};

    int error = soon__explain(ex, soon__executor_check(ex));
    if (error)
        return error;
    if (!options)
        options = &defaults;
    if (!sound(&map, options))
        return -EINVAL;
    if (count == 0)
        return 0;
    map.keep_going = options->keep_going;
    map.deadline = soon__deadline(options->timeout ? options->timeout : SOON_FOREVER);
    error = begin(&map, options);
    if (!error) {
        run(&map);
        error = map.error;
    }
    end(&map);
    return error;
}
