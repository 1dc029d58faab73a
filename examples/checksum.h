/* SPDX-License-Identifier: MIT */
/* The parts of checksum that have nothing to do with futures: finding files, and telling people. */
#ifndef EXAMPLES_CHECKSUM_H
#define EXAMPLES_CHECKSUM_H

#include <fts.h>
#include <stdbool.h>
#include <stdint.h>

enum { DIGEST_LEN = 32 };

/* ---- checksum_tree.c ---- */

/* Called for what is not read: path, and why. */
typedef void tree_error_fn(const char *path, const char *why);

/* Begins a walk over a NULL-ended list of paths, which fts_close() ends. NULL, and errno. */
FTS *tree_open(char *const *paths);

/* The next regular file in the byte order of whole paths, valid until the next call. NULL once:
 * at the end. Symbolic links are not followed. */
const FTSENT *tree_next(FTS *tree, tree_error_fn *error);

/* Bytes in all those files, what can't be read left out. */
uint64_t tree_size(char *const *paths);

/* ---- checksum_report.c: all of it for the main thread only ---- */

/* Prints a line of sha256sum's format. */
void report_digest(const unsigned char *digest, const char *path);

/* Prints what went wrong with a path. */
void report_error(const char *path, const char *why);

/* Begins a progress bar of so many bytes in all. */
void report_begin(uint64_t total);

/* Ten times a second: it is time for report_progress(). */
bool report_due(void);

/* Gets the lines out, and moves the bar if one was begun. */
void report_progress(uint64_t done);

/* Ends it. True if everything that was to be printed is, and there was no error. */
bool report_end(uint64_t done);

#endif /* EXAMPLES_CHECKSUM_H */
