/* SPDX-License-Identifier: MIT */
/*
 * The names that soon_register() gave to functions.
 *
 * A name is of one function, and a function has one name, as long as the
 * function's object is loaded. After that the entry is dead: it says nothing
 * about what is loaded in that place next.
 */
#ifndef SOON_PROCESS_POOL_REGISTER_H
#define SOON_PROCESS_POOL_REGISTER_H

#include "os/object.h"
#include "process_pool/function.h"

/* Lives for ever. Sync: const once it is on the list, but for `dead`. */
struct soon__registered {
    struct soon__registered *older;
    size_t count; /* of this one and all older ones */
    soon_fn *fn;
    bool in_object;         /* if not, nobody can tell when it goes */
    struct soon__code code; /* in_object: what fn is in */
    char name[SOON__NAME_MAX + 1];
    atomic_bool dead; /* found to be, which never ends. Sync: atomic */
};

/* The newest one, which leads to all that were there before, or NULL. */
struct soon__registered *soon__registered_newest(void);

/* Is its function's object still loaded? Takes the dynamic linker's lock. */
bool soon__registered_lives(struct soon__registered *entry);

/* The same without a lock, where fn's object cannot be unloaded meanwhile. */
bool soon__registered_stays(struct soon__registered *entry);

/* The one that lives, among newest and all older ones, or NULL. */
struct soon__registered *soon__registered_name(struct soon__registered *newest, const char *name);
struct soon__registered *soon__registered_fn(struct soon__registered *newest, soon_fn *fn);

#endif
