/* SPDX-License-Identifier: MIT */
/*
 * What workers can find is decided by a snapshot of the moment they begin at:
 * the code that was loaded, by address, and the names that were registered, by
 * function. Describing a function is two binary searches in it and one look at
 * what is loaded now, because the program may have unloaded an object since and
 * loaded another in its place (os/object.h). Nothing is remembered from one
 * time to the next, so nothing can be out of date, and in the usual cases no
 * lock is taken: submitting from many threads does not make them queue, and a
 * fork of the program never finds a lock held.
 */
#include "process_pool/function.h"

#include "core/mem.h"
#include "os/object.h"
#include "process_pool/register.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct soon__function) == 72, "a function travels as 72 bytes");
_Static_assert((int)SOON__OBJECT_ID == (int)SOON__NAME_MAX, "an object's id is as long as a name");

struct soon__found {
    size_t name_room, n_names;
    size_t code_room, n_codes;
    struct soon__registered **names; /* by function; in the same memory, behind the codes */
    struct soon__code codes[];       /* by address. Sync: const but for `checked` */
};

/* ---- the snapshot ---- */

static int by_start(const void *a, const void *b)
{
    const struct soon__code *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

static int by_function(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)(*(struct soon__registered *const *)a)->fn;
    uintptr_t right = (uintptr_t)(*(struct soon__registered *const *)b)->fn;

    return (left > right) - (left < right);
}

static size_t found_size(size_t code_room, size_t name_room)
{
    return sizeof(struct soon__found) + code_room * sizeof(struct soon__code) +
           name_room * sizeof(struct soon__registered *);
}

static struct soon__found *found_new(size_t code_room, size_t name_room)
{
    struct soon__found *found = soon__zalloc(found_size(code_room, name_room));

    if (found) {
        found->code_room = code_room;
        found->name_room = name_room;
        found->names = (struct soon__registered **)&found->codes[code_room];
    }
    return found;
}

/* Objects can be loaded between counting and writing them down. */
static struct soon__found *write_codes(size_t name_room)
{
    size_t n = soon__code_list(NULL, 0);

    for (;;) {
        struct soon__found *found = found_new(n, name_room);
        if (!found)
            return NULL;
        n = soon__code_list(found->codes, found->code_room);
        if (n <= found->code_room) {
            found->n_codes = n;
            return found;
        }
        soon__functions_free(found);
    }
}

struct soon__found *soon__functions_now(void)
{
    struct soon__registered *newest = soon__registered_newest();
    struct soon__found *found = write_codes(newest ? newest->count : 0);

    if (!found)
        return NULL;
    for (struct soon__registered *entry = newest; entry; entry = entry->older)
        if (soon__registered_lives(entry))
            found->names[found->n_names++] = entry;
    qsort(found->names, found->n_names, sizeof found->names[0], by_function);
    qsort(found->codes, found->n_codes, sizeof found->codes[0], by_start);
    return found;
}

void soon__functions_free(struct soon__found *found)
{
    if (found)
        soon__free(found, found_size(found->code_room, found->name_room));
}

static struct soon__registered *find_name(const struct soon__found *found, soon_fn *fn)
{
    struct soon__registered key = {.fn = fn}, *sought = &key, **name;

    if (found->n_names == 0)
        return NULL;
    name = bsearch(&sought, found->names, found->n_names, sizeof sought, by_function);
    return name && soon__registered_stays(*name) ? *name : NULL;
}

static struct soon__code *find_code(struct soon__found *found, uintptr_t address)
{
    size_t low = 0, high = found->n_codes;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct soon__code *code = &found->codes[middle];
        if (address < code->start)
            high = middle;
        else if (address < code->end)
            return code;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- why not ---- */

static void name_place(uintptr_t address, char *text, size_t size)
{
    struct soon__place place;

    if (!soon__place_at(address, &place))
        snprintf(text, size, "the function at 0x%" PRIxPTR, address);
    else if (place.symbol[0])
        snprintf(text, size, "'%s' of %s", place.symbol, place.object);
    else
        snprintf(text, size, "the function at 0x%" PRIx64 " of %s", place.offset, place.object);
}

static const char *reason(struct soon__found *found, bool forked, uintptr_t address)
{
    struct soon__code now;

    if (!soon__is_in_object(address))
        return find_code(found, address) ? "which has been unloaded" : "which is in no object file";
    if (!soon__code_at(address, &now))
        return "which is not code, or was loaded with dlmopen()";
    return forked ? "which was loaded after the pool was made"
                  : "which was loaded after soon_init()";
}

static int not_found(char *message, size_t size, uintptr_t address, const char *why)
{
    char name[256];

    name_place(address, name, sizeof name);
    snprintf(message, size, "workers cannot find %s, %s", name, why);
    return -ENOENT;
}

/* ---- describing ---- */

/* A forked worker has an address if it has the object there; and what is in
 * no object, as code that was made at run time, it may have. */
static int describe_forked(struct soon__found *found, uintptr_t address, struct soon__function *out,
                           char *message, size_t size)
{
    struct soon__code *code = find_code(found, address);

    if (code ? !soon__code_stays(code, address) : soon__is_in_object(address))
        return not_found(message, size, address, reason(found, true, address));
    out->kind = SOON__FUNCTION_ADDRESS;
    out->offset = address;
    return 0;
}

static bool is_same_object(const struct soon__code *a, const struct soon__code *b)
{
    return memcmp(a->id, b->id, sizeof a->id) == 0;
}

/* The code that address is in, as it was in the snapshot, and where its object
 * is now: that may have been unloaded and loaded again elsewhere, and is the
 * same one if its code is. */
static const struct soon__code *find_object(struct soon__found *found, uintptr_t address,
                                            uintptr_t *base)
{
    struct soon__code *code = find_code(found, address), now;

    if (code && soon__code_stays(code, address)) {
        *base = code->base;
        return code;
    }
    if (!soon__code_at(address, &now))
        return NULL;
    *base = now.base;
    for (size_t i = 0; i < found->n_codes; i++) {
        code = &found->codes[i];
        if (is_same_object(code, &now) && code->start - code->base == now.start - now.base &&
            code->end - code->start == now.end - now.start && code->digest == now.digest)
            return code;
    }
    return NULL;
}

/* Two objects that go by one name cannot be told apart in another process. */
static bool is_ambiguous(const struct soon__found *found, const struct soon__code *code)
{
    if (code->has_build_id)
        return false;
    for (size_t i = 0; i < found->n_codes; i++)
        if (found->codes[i].base != code->base && is_same_object(&found->codes[i], code))
            return true;
    return false;
}

static int describe_spawned(struct soon__found *found, soon_fn *fn, struct soon__function *out,
                            char *message, size_t size)
{
    const struct soon__registered *name = find_name(found, fn);
    uintptr_t address = (uintptr_t)fn, base;

    if (name) {
        out->kind = SOON__FUNCTION_NAMED;
        memcpy(out->id, name->name, sizeof out->id);
        return 0;
    }
    const struct soon__code *code = find_object(found, address, &base);
    if (!code)
        return not_found(message, size, address, reason(found, false, address));
    if (is_ambiguous(found, code))
        return not_found(message, size, address,
                         "one of several objects of that name without a build-id; "
                         "soon_register() can make it known");
    out->kind = SOON__FUNCTION_IN_OBJECT;
    out->offset = address - base;
    memcpy(out->id, code->id, sizeof out->id);
    return 0;
}

int soon__function_describe(struct soon__found *found, bool forked, soon_fn *fn,
                            struct soon__function *out, char *message, size_t size)
{
    memset(out, 0, sizeof *out);
    return forked ? describe_forked(found, (uintptr_t)fn, out, message, size)
                  : describe_spawned(found, fn, out, message, size);
}

/* ---- finding ---- */

/* What was found last, by hash. Sync: the worker's one thread */
static struct finding {
    struct soon__function sought;
    soon_fn *fn;                    /* NULL: not found, or unused */
    struct soon__registered *entry; /* NAMED: whose fn is */
    struct soon__code code;         /* IN_OBJECT: what fn is in */
} findings[8];

static struct finding *finding_of(const struct soon__function *function)
{
    enum { FINDINGS = sizeof findings / sizeof findings[0] };
    uint64_t head;

    memcpy(&head, function->id, sizeof head);
    return &findings[((function->offset ^ head) * 0x9E3779B97F4A7C15 >> 32) % FINDINGS];
}

static bool is_good(struct finding *finding)
{
    if (!finding->fn)
        return false;
    return finding->entry ? soon__registered_stays(finding->entry)
                          : soon__code_stays(&finding->code, (uintptr_t)finding->fn);
}

static void find(struct finding *finding)
{
    const struct soon__function *sought = &finding->sought;
    char name[SOON__NAME_MAX + 1] = "";

    finding->fn = NULL;
    finding->entry = NULL;
    if (sought->kind == SOON__FUNCTION_NAMED) {
        memcpy(name, sought->id, sizeof sought->id);
        finding->entry = soon__registered_name(soon__registered_newest(), name);
        if (finding->entry)
            finding->fn = finding->entry->fn;
    } else if (sought->kind == SOON__FUNCTION_IN_OBJECT &&
               soon__code_find(sought->id, sought->offset, &finding->code)) {
        finding->fn = (soon_fn *)(finding->code.base + (uintptr_t)sought->offset);
    }
}

soon_fn *soon__function_find(const struct soon__function *function)
{
    struct finding *finding = finding_of(function);

    if (function->kind == SOON__FUNCTION_ADDRESS)
        return (soon_fn *)(uintptr_t)function->offset;
    if (memcmp(&finding->sought, function, sizeof *function) != 0 || !is_good(finding)) {
        finding->sought = *function;
        find(finding);
    }
    return finding->fn;
}

/* ---- naming ---- */

const char *soon__function_name(soon_fn *fn, char *text, size_t size)
{
    const struct soon__registered *entry = soon__registered_fn(soon__registered_newest(), fn);
    struct soon__place place;

    if (entry)
        snprintf(text, size, "%s", entry->name);
    else if (!soon__place_at((uintptr_t)fn, &place))
        snprintf(text, size, "0x%" PRIxPTR, (uintptr_t)fn);
    else if (place.symbol[0])
        snprintf(text, size, "%s", place.symbol);
    else
        snprintf(text, size, "%s+0x%" PRIx64, place.object, place.offset);
    return text;
}
