/* SPDX-License-Identifier: MIT */
#include "core/batch.h"

#include "core/error.h"
#include "core/mem.h"
#include "core/thread.h"

#include <errno.h>
#include <string.h>

struct header {
    uint64_t cookie;
    uint32_t items;
    uint32_t keep_going;
};

struct item {
    uint64_t len;
    uint64_t unused;
};

/* It is read where it lies, among bytes. */
struct __attribute__((may_alias)) result {
    uint64_t len;
    int32_t code;
    uint32_t unused;
};

_Static_assert(sizeof(struct header) == 16 && sizeof(struct item) == 16 &&
                   sizeof(struct result) == 16,
               "every part begins at a multiple of 16");

/* ---- writing an argument ---- */

static int reserve(struct soon__batch *batch, size_t more)
{
    size_t need, room = batch->room ? batch->room : 256;

    if (__builtin_add_overflow(batch->len, more, &need) || need > SIZE_MAX / 4)
        return -ENOMEM;
    if (need <= batch->room)
        return 0;
    while (room < need)
        room *= 2;
    unsigned char *bytes = soon__alloc(room);
    if (!bytes)
        return -ENOMEM;
    if (batch->len)
        memcpy(bytes, batch->bytes, batch->len);
    soon__free(batch->bytes, batch->room);
    batch->bytes = bytes;
    batch->room = room;
    return 0;
}

int soon__batch_begin(struct soon__batch *batch, bool keep_going)
{
    struct header header = {.keep_going = keep_going};

    batch->len = 0;
    batch->items = 0;
    int error = reserve(batch, sizeof header);
    if (error)
        return error;
    memcpy(batch->bytes, &header, sizeof header);
    batch->len = sizeof header;
    return 0;
}

int soon__batch_add(struct soon__batch *batch, const void *item, size_t len)
{
    struct item head = {.len = len};

    if (len > SIZE_MAX / 4)
        return -ENOMEM;
    int error = reserve(batch, sizeof head + soon__round16(len));
    if (error)
        return error;
    memcpy(batch->bytes + batch->len, &head, sizeof head);
    if (len)
        memcpy(batch->bytes + batch->len + sizeof head, item, len);
    /* What pads the item is sent as well, perhaps to another process. */
    memset(batch->bytes + batch->len + sizeof head + len, 0, soon__round16(len) - len);
    batch->len += sizeof head + soon__round16(len);
    ((struct header *)(void *)batch->bytes)->items = (uint32_t)++batch->items;
    return 0;
}

void soon__batch_free(struct soon__batch *batch)
{
    soon__free(batch->bytes, batch->room);
    *batch = (struct soon__batch){0};
}

void soon__batch_set_cookie(struct soon__batch *batch, uint64_t cookie)
{
    ((struct header *)(void *)batch->bytes)->cookie = cookie;
}

size_t soon__batch_items_within(size_t len, size_t item_len)
{
    size_t left = len - sizeof(struct header);

    if (item_len >= left - sizeof(struct item))
        return 1;
    return left / (sizeof(struct item) + soon__round16(item_len));
}

uint64_t soon__batch_cookie(const soon_future *f)
{
    size_t len;
    const struct header *header = soon__future_arg(f, &len);

    return header->cookie;
}

/* ---- running it ---- */

/* Makes room for more bytes behind the results so far. */
static bool extend(struct soon__blob **out, size_t more)
{
    struct soon__blob *old = *out;
    size_t used = old ? old->len : 0, room;

    if (old && old->room - used >= more)
        return true;
    if (more > SIZE_MAX / 4 - used)
        return false;
    room = 2 * (used + more);
    struct soon__blob *blob = soon__blob_new(room);
    if (!blob)
        return false;
    blob->len = used;
    if (used)
        memcpy(blob->bytes, old->bytes, used);
    soon__blob_free(old);
    *out = blob;
    return true;
}

/* Appends what an item's call left behind. A result within room is in place
 * already. */
static bool keep(struct soon__blob **out, soon_call *call, int code)
{
    const char *message = call->message ? call->message : soon__text(code);
    bool inside = code == 0 && !call->large.blob;
    const void *bytes = code ? message : soon__result_bytes(call);
    size_t len = code ? strlen(message) + 1 : call->len;
    struct result head = {.len = len, .code = code};

    if (len > SIZE_MAX / 4 || (!inside && !extend(out, sizeof head + soon__round16(len))))
        return false;
    unsigned char *to = (*out)->bytes + (*out)->len;
    memcpy(to, &head, sizeof head);
    if (!inside && len)
        memcpy(to + sizeof head, bytes, len);
    memset(to + sizeof head + len, 0, soon__round16(len) - len);
    (*out)->len += sizeof head + soon__round16(len);
    return true;
}

/* Runs one item; its code, or *lost for want of memory for its result. */
static int run_item(soon_call *chunk, soon_fn *fn, const void *item, size_t len,
                    struct soon__blob **out, bool *lost)
{
    enum { TYPICAL = 64 };
    soon_call call;

    *lost = !extend(out, sizeof(struct result) + TYPICAL);
    if (*lost)
        return 0;
    soon__call_init(&call, chunk->future, soon__own_executor(chunk->future));
    soon__call_more(&call);
    call.port = chunk->port;
    call.timer.deadline = chunk->timer.deadline;
    call.room = (*out)->bytes + (*out)->len + sizeof(struct result);
    call.room_size = ((*out)->room - (*out)->len - sizeof(struct result)) & ~(size_t)15;
    soon__self.call = &call;
    int code = fn(&call, len ? item : NULL, len);
    soon__self.call = chunk;
    *lost = !keep(out, &call, code);
    soon__call_discard(&call);
    return code;
}

/* Makes the results of all items that of the chunk; out may be NULL. */
static int hand_over(soon_call *chunk, struct soon__blob *out)
{
    int error = 0;

    if (chunk->buffers && out) { /* how large it would be was not known before */
        error = soon_return(chunk, out->bytes, out->len);
        soon__blob_free(out);
        return error;
    }
    chunk->large = (struct soon__large){.blob = out};
    return 0;
}

int soon__batch_run(soon_call *chunk, soon_fn *fn, const void *arg, size_t len)
{
    const struct header *header = arg;
    const unsigned char *at = (const unsigned char *)arg + sizeof *header;
    struct soon__blob *out = NULL;
    bool lost = false;

    (void)len; /* it was written by soon__batch_add() */
    for (uint32_t i = 0; i < header->items && !lost && !soon_call_cancelled(chunk); i++) {
        const struct item *item = (const void *)at;
        int code = run_item(chunk, fn, at + sizeof *item, item->len, &out, &lost);
        if (code && !header->keep_going)
            break;
        at += sizeof *item + soon__round16(item->len);
    }
    if (lost) {
        soon__blob_free(out);
        return -ENOMEM;
    }
    return hand_over(chunk, out);
}

/* ---- reading results ---- */

/* They may lie where the worker that wrote them can still write: each field is
 * read once, and then checked. */
static struct result read_head(const unsigned char *at)
{
    const volatile struct result *head = (const void *)at;

    return (struct result){.len = head->len, .code = head->code};
}

bool soon__batch_read(struct soon__batch_reader *reader, struct soon__batch_result *result)
{
    if (reader->left < sizeof(struct result))
        return false;
    struct result head = read_head(reader->at);
    if (head.len > reader->left - sizeof head)
        return false;
    result->code = head.code;
    result->bytes = reader->at + sizeof head;
    result->len = head.len;
    size_t step = sizeof head + soon__round16(head.len);
    step = step < reader->left ? step : reader->left;
    reader->at += step;
    reader->left -= step;
    return true;
}
