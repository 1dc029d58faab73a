/* SPDX-License-Identifier: MIT */
/*
 * What is loaded: the program and its shared libraries, where their code lies,
 * and what tells one from another.
 */
#ifndef SOON_OS_OBJECT_H
#define SOON_OS_OBJECT_H

#include <soon/base.h>
#include <stdatomic.h>

/* Bytes by which an object is known, in this process and in another one: its
 * build-id, or where the linker left none the base name of its file (of the
 * program: "program"). Zero where unused. */
enum { SOON__OBJECT_ID = 63 };

/* An executable segment of an object. */
struct soon__code {
    uintptr_t start, end;
    uintptr_t base; /* what offsets in the object count from */
    uint8_t id[SOON__OBJECT_ID];
    bool has_build_id;
    bool is_program; /* which nobody can unload */

    /* For soon__code_stays(): how to tell the object again. */
    uintptr_t map_start, map_end; /* memory it takes; 0: not known */
    const unsigned char *note;    /* its build-id, where that may be read unlocked, or NULL */
    uint64_t digest;              /* of the code, where there is no build-id */
    _Atomic uint64_t checked;     /* objects that had been unloaded when last it was found in
                                     place. Sync: atomic */
};

/* Writes down all code that is loaded, up to room of them; returns how many
 * there are. Takes the dynamic linker's lock for a moment. */
size_t soon__code_list(struct soon__code *list, size_t room);

/* The code that address is in; false if in none. Takes the lock. */
bool soon__code_at(uintptr_t address, struct soon__code *code);

/* The code at this offset in the object with this id; false if there is none,
 * or if several objects go by one name. Takes the lock. */
bool soon__code_find(const uint8_t id[SOON__OBJECT_ID], uint64_t offset, struct soon__code *code);

/* Is address, which was in code when that was written down and is in an object
 * now (or in none), still in the same one? The object must not be unloaded
 * meanwhile. A few nanoseconds and no lock, if the object has a build-id. */
bool soon__code_stays(struct soon__code *code, uintptr_t address);

/* The same, of code that may be unloaded at any moment. Takes the lock. */
bool soon__code_is_loaded(struct soon__code *code);

/* Is address in an object, be it in code or in data? No lock where the C
 * library allows. */
bool soon__is_in_object(uintptr_t address);

/* How to call an address. */
struct soon__place {
    char object[64];  /* base name of the file, perhaps cut */
    char symbol[128]; /* the dynamic symbol that begins at the address, or "" */
    uint64_t offset;
};

/* False if address is in no object. Takes the lock, and time. */
bool soon__place_at(uintptr_t address, struct soon__place *place);

#endif
