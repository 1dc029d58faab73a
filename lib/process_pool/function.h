/* SPDX-License-Identifier: MIT */
/*
 * How a function gets into another process.
 *
 * A forked worker has it at the same address. A spawned one is another run of
 * the program, at other addresses: there it is found by the name that
 * soon_register() gave it, or by its object (program or shared library) and its
 * offset there. An object is known by its build-id, or where the linker left
 * none by its file's name.
 */
#ifndef SOON_PROCESS_POOL_FUNCTION_H
#define SOON_PROCESS_POOL_FUNCTION_H

#include <soon/executor.h>

enum { SOON__NAME_MAX = 63 };

enum soon__function_kind {
    SOON__FUNCTION_ADDRESS = 1, /* offset is the address */
    SOON__FUNCTION_NAMED,       /* id is its registered name */
    SOON__FUNCTION_IN_OBJECT,   /* id is its object's, offset the place there */
};

/* A function as it travels: 72 bytes without padding, zero where unused. */
struct soon__function {
    uint64_t offset;
    uint8_t kind;
    uint8_t id[SOON__NAME_MAX]; /* NAMED: ends in a NUL if it is shorter */
};

/* Takes note of the objects loaded now and the names registered so far: what
 * a worker that begins at this point will find. Once per pool (fork methods) or
 * process (spawn). NULL: no memory. */
struct soon__found;
struct soon__found *soon__functions_now(void);
void soon__functions_free(struct soon__found *found);

/* The one of soon_init(), for spawned workers; NULL before that call. */
struct soon__found *soon__functions_spawned(void);

/* How workers that began with found can find fn: 0, or -ENOENT with a sentence
 * in message that names fn, and *out is zero: a function that nobody finds.
 * forked: they have our addresses. fn's object must not be unloaded meanwhile.
 * Thread-safe, quick, and without a lock unless the object has no build-id. */
int soon__function_describe(struct soon__found *found, bool forked, soon_fn *fn,
                            struct soon__function *out, char *message, size_t size);

/* In the worker's one thread: the function, or NULL. Any bytes may come. Quick
 * for the same one again. */
soon_fn *soon__function_find(const struct soon__function *function);

/* A name to show: as registered, or the symbol's, or OBJECT+0xOFFSET, or the
 * address. Returns text. */
const char *soon__function_name(soon_fn *fn, char *text, size_t size);

#endif
