/* SPDX-License-Identifier: MIT */
/*
 * One function over many items: soon_map() for arrays, soon_imap for streams.
 */
#ifndef SOON_MAP_H
#define SOON_MAP_H

#include <soon/base.h>
#include <soon/executor.h>
#include <soon/future.h>

SOON_BEGIN_DECLS

typedef struct soon_map_options {
    size_t chunk_size;  /* items a task; 0: chosen, in an imap 1, in a map about 4 tasks a worker,
                           or more where a task would get over 512 KiB */
    size_t buffer_size; /* soon_imap: items pulled ahead of the reader; 0: 2 x workers x chunk */
    soon_ns timeout;    /* for the whole map, or from soon_imap_new() on; 0: none */
    bool unordered;     /* soon_imap: results as they complete */
    bool keep_going;    /* after an item's error */
    uint64_t reserved[4];
} soon_map_options;

/* results[i] = fn(items[i]) for i in [0, count).
 *
 *   items    count items of item_size > 0 bytes; copied, so that they need
 *            not outlive the call even if it times out
 *   results  room for count results of result_size bytes; may be NULL when
 *            result_size is 0. Each item's result must be exactly that long,
 *            or the item's error is -EMSGSIZE. The place of an item that
 *            failed or did not run is untouched. Nothing is written after return.
 *
 * An item's error ends the map: what has not begun is cancelled, what runs is
 * asked to stop and waited for; with keep_going the rest runs all the same.
 *
 * 0, or the error of the failed item with the lowest index among those that
 * ran (the item's own code, of any sign). -ETIMEDOUT past options->timeout:
 * the rest is cancelled, and what runs is not waited for. Errors of
 * soon_submit(); -EINVAL, also for sizes that overflow; -ENOMEM; -EDEADLK;
 * -EBADMSG: what a worker process sent as results of a chunk makes no sense. */
SOON_API int soon_map(soon_executor *ex, soon_fn *fn, const void *items, size_t item_size,
                      size_t count, void *results, size_t result_size,
                      const soon_map_options *options);

/* Where a stream's items come from. 1: *item points at *len bytes, which are
 * copied before the next call; 0: the end; < 0: an error. It is called only
 * inside soon_imap_new() and soon_imap_next(), never twice at once, and not
 * again after it returned 0 or less. It must not call into its own imap. */
typedef int soon_source_fn(void *source, const void **item, size_t *len);

typedef struct soon_imap soon_imap;

/* Results of fn over the items of a source, at most buffer_size items ahead
 * of the reader: a stream of any length in bounded memory. The first items
 * are pulled and submitted in here. ex is kept until soon_imap_free(). 0; -EINVAL; -ENOMEM; errors
 * of soon_submit(). */
SOON_API int soon_imap_new(soon_executor *ex, soon_fn *fn, soon_source_fn *next, void *source,
                           const soon_map_options *options, soon_imap **out);

/* The next result, in the order of the items unless options->unordered: 1,
 * and *value points at *len bytes, aligned to 16, until the next call of next or free. 0 at the
 * end. < 0: an item's error (a positive code negated), in its place among
 * the results; a source's error after the items before it; -ETIMEDOUT past
 * options->timeout; an error of soon_submit(), -EDEADLK, -ENOMEM; -EBADMSG for a chunk whose
 * results make no sense. After an error the
 * rest is cancelled and the next call returns 0, unless keep_going is set and
 * it was an item's or a chunk's. -EINVAL; -ENOTRECOVERABLE in a forked child. Threads take
 * turns; from inside its own source or one of its tasks that runs in place: -EDEADLK. */
SOON_API int soon_imap_next(soon_imap *it, const void **value, size_t *len);

/* Details of the error that next reported last: 0; error->code 0 if there was
 * none. The message is valid until the next call of next or free. -EINVAL,
 * -EDEADLK, -ENOTRECOVERABLE as next. */
SOON_API int soon_imap_error(soon_imap *it, soon_error *error);

/* Cancels what has not run, asks what runs to stop, waits for neither.
 * Aborts if another thread is inside. NULL is nothing. */
SOON_API void soon_imap_free(soon_imap *it);

SOON_END_DECLS

#endif /* SOON_MAP_H */
