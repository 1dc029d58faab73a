/* SPDX-License-Identifier: MIT */
/*
 * There are two ways to ask the dynamic linker what is loaded.
 *
 *   dl_iterate_phdr() shows every object, under a lock that keeps objects from
 *   being unloaded meanwhile. That lock is not reset in the child of a fork: a
 *   child that was forked while another thread held it can never take it. So
 *   what is done a million times a second must not take it.
 *
 *   _dl_find_object() (glibc 2.35) shows the bounds of one object, and takes
 *   no lock.
 *
 * dladdr() is not for us: its lock is the one that dlopen() holds while it runs
 * constructors, and one of those may be waiting for a task of ours.
 *
 * An object may be unloaded and another be loaded where it was, rebuilt from
 * changed sources and otherwise just like it. soon__code_stays() sees through
 * that because it compares build-ids in memory. It may read the new object's
 * without a lock: its caller vouches for the object that the address is in now,
 * that one has the same bounds, and the build-id lies in the first page, which
 * is the ELF header's and so is mapped and readable in every object. Where any
 * of this does not hold (no build-id, or in an odd place; no _dl_find_object())
 * the number of objects ever unloaded decides: if it has not grown since the
 * code was last found in place, nothing can have taken the place. If it has,
 * the object is looked at again under the lock, and without a build-id its code
 * is compared by digest.
 */
#include "os/object.h"

#include "os/segment.h"
#include "os/symbol.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

/* <dlfcn.h> defines it together with _dl_find_object(). */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
#define HAVE_FIND_OBJECT 1
#else
#define HAVE_FIND_OBJECT 0
#endif

enum { PAGE = 4096 }; /* the smallest there is */

/* ---- objects ---- */

static bool is_readable(const struct dl_phdr_info *object, uintptr_t address, size_t len)
{
    return soon__segment_at(object, PF_R, address, len) != NULL;
}

static bool is_program(const struct dl_phdr_info *object)
{
    return (uintptr_t)object->dlpi_phdr == getauxval(AT_PHDR);
}

static const char *base_name(const struct dl_phdr_info *object)
{
    const char *name = object->dlpi_name ? object->dlpi_name : "";
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

/* ---- build-ids ---- */

/* A note: its header, the owner's name, and what it says, each padded. */
struct note {
    ElfW(Nhdr) head;
    char owner[4];
};

static size_t padded(size_t size, size_t alignment)
{
    return (size + alignment - 1) & ~(alignment - 1);
}

/* The note with the build-id among len bytes of notes, or NULL. */
static const unsigned char *find_build_id(const unsigned char *notes, size_t len, size_t alignment)
{
    struct note note;

    while (len >= sizeof note) {
        memcpy(&note, notes, sizeof note);
        size_t name = note.head.n_namesz, desc = note.head.n_descsz;
        if (name > len || desc > len)
            return NULL;
        size_t body = padded(sizeof note.head + name, alignment), size = body + desc;
        if (size > len)
            return NULL;
        if (note.head.n_type == NT_GNU_BUILD_ID && name == sizeof note.owner && desc > 0 &&
            memcmp(note.owner, "GNU", sizeof note.owner) == 0)
            return notes;
        size = padded(size, alignment);
        if (size > len)
            return NULL;
        notes += size;
        len -= size;
    }
    return NULL;
}

static const unsigned char *build_id_note(const struct dl_phdr_info *object)
{
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const soon__segment *segment = &object->dlpi_phdr[i];
        uintptr_t at = soon__segment_start(object, segment);
        const unsigned char *note = NULL;

        if (segment->p_type == PT_NOTE && is_readable(object, at, segment->p_memsz))
            note = find_build_id((const unsigned char *)at, segment->p_memsz,
                                 segment->p_align == 8 ? 8 : 4);
        if (note)
            return note;
    }
    return NULL;
}

static size_t note_desc_len(const unsigned char *note)
{
    ElfW(Nhdr) head;

    memcpy(&head, note, sizeof head);
    return head.n_descsz;
}

/* ---- digests and ids ---- */

/* Of what is no secret: rotate, add, multiply. */
static uint64_t digest_of(const unsigned char *bytes, size_t len)
{
    uint64_t digest = len, word;

    for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        digest = ((digest << 23 | digest >> 41) ^ word) * 0x9E3779B97F4A7C15;
    }
    for (word = 0; len; len--)
        word = word << 8 | *bytes++;
    digest = ((digest << 23 | digest >> 41) ^ word) * 0x9E3779B97F4A7C15;
    return digest ^ digest >> 32;
}

/* The first byte says what follows: a build-id of that length, or for 0 a
 * name. What is too long ends in a digest of all of it. */
static void make_id(uint8_t id[SOON__OBJECT_ID], bool build_id, const void *bytes, size_t len)
{
    enum { ROOM = SOON__OBJECT_ID - 1 };
    size_t fits = len < ROOM ? len : ROOM;

    memset(id, 0, SOON__OBJECT_ID);
    id[0] = (uint8_t)(build_id ? fits : 0);
    memcpy(id + 1, bytes, fits);
    if (len > ROOM) {
        uint64_t digest = digest_of(bytes, len);
        memcpy(id + SOON__OBJECT_ID - sizeof digest, &digest, sizeof digest);
    }
}

static void identify(const struct dl_phdr_info *object, struct soon__code *code)
{
    const unsigned char *note = build_id_note(object);

    code->is_program = is_program(object);
    code->has_build_id = note != NULL;
    if (note) {
        make_id(code->id, true, note + sizeof(struct note), note_desc_len(note));
    } else {
        const char *name = code->is_program ? "program" : base_name(object);
        make_id(code->id, false, name, strlen(name));
    }
}

/* ---- writing down a segment ---- */

/* Where the build-id can be read without a lock, if it can. */
static void note_bounds(const struct dl_phdr_info *object, struct soon__code *code)
{
#if HAVE_FIND_OBJECT
    struct dl_find_object bounds;
    const unsigned char *note = build_id_note(object);

    /* The program needs none of it. One that is just being loaded is not found
     * yet. */
    if (!note || code->is_program || _dl_find_object((void *)code->start, &bounds) != 0)
        return;
    size_t in_page = (uintptr_t)note - (uintptr_t)bounds.dlfo_map_start;
    size_t len = sizeof(struct note) + note_desc_len(note);
    if (in_page > PAGE || len > PAGE - in_page || note_desc_len(note) >= SOON__OBJECT_ID)
        return;
    code->map_start = (uintptr_t)bounds.dlfo_map_start;
    code->map_end = (uintptr_t)bounds.dlfo_map_end;
    code->note = note;
#else
    (void)object;
    (void)code;
#endif
}

static uint64_t digest_segment(const struct dl_phdr_info *object, const soon__segment *segment)
{
    if (!(segment->p_flags & PF_R))
        return 0;
    return digest_of((const unsigned char *)soon__segment_start(object, segment), segment->p_memsz);
}

static void write_down(const struct dl_phdr_info *object, const soon__segment *segment,
                       struct soon__code *code)
{
    memset(code, 0, sizeof *code);
    code->start = soon__segment_start(object, segment);
    code->end = code->start + segment->p_memsz;
    code->base = object->dlpi_addr;
    identify(object, code);
    note_bounds(object, code);
    if (!code->has_build_id && !code->is_program)
        code->digest = digest_segment(object, segment);
    /* relaxed, as everywhere: it stands for itself. */
    atomic_store_explicit(&code->checked, object->dlpi_subs, memory_order_relaxed);
}

static bool is_code(const soon__segment *segment)
{
    return segment->p_type == PT_LOAD && (segment->p_flags & PF_X);
}

/* ---- the list ---- */

struct list {
    struct soon__code *codes;
    size_t room, n;
};

static int add_object(struct dl_phdr_info *object, size_t size, void *data)
{
    struct list *list = data;

    (void)size;
    for (size_t i = 0; i < object->dlpi_phnum; i++)
        if (is_code(&object->dlpi_phdr[i])) {
            if (list->n < list->room)
                write_down(object, &object->dlpi_phdr[i], &list->codes[list->n]);
            list->n++;
        }
    return 0;
}

size_t soon__code_list(struct soon__code *codes, size_t room)
{
    struct list list = {.codes = codes, .room = room};

    dl_iterate_phdr(add_object, &list);
    return list.n;
}

/* ---- by address ---- */

struct at {
    uintptr_t address;
    struct soon__code *code;
};

static int look_at(struct dl_phdr_info *object, size_t size, void *data)
{
    struct at *at = data;
    const soon__segment *segment = soon__segment_at(object, PF_X, at->address, 1);

    (void)size;
    if (segment)
        write_down(object, segment, at->code);
    return segment != NULL;
}

bool soon__code_at(uintptr_t address, struct soon__code *code)
{
    struct at at = {.address = address, .code = code};

    return dl_iterate_phdr(look_at, &at) != 0;
}

#if HAVE_FIND_OBJECT

bool soon__is_in_object(uintptr_t address)
{
    struct dl_find_object bounds;

    return _dl_find_object((void *)address, &bounds) == 0;
}

#else

static int look_whether_in(struct dl_phdr_info *object, size_t size, void *data)
{
    (void)size;
    return soon__segment_at(object, 0, *(const uintptr_t *)data, 1) != NULL;
}

bool soon__is_in_object(uintptr_t address)
{
    return dl_iterate_phdr(look_whether_in, &address) != 0;
}

#endif

/* ---- by id ---- */

struct search {
    const uint8_t *id;
    uint64_t offset;
    struct soon__code *code;
    size_t objects, found;
};

/* Two objects with one build-id are the same for all we know. */
static int look_for(struct dl_phdr_info *object, size_t size, void *data)
{
    struct search *search = data;
    struct soon__code seen = {0};
    uintptr_t address = object->dlpi_addr + search->offset;

    (void)size;
    identify(object, &seen);
    if (memcmp(seen.id, search->id, sizeof seen.id) != 0)
        return 0;
    search->objects++;
    const soon__segment *segment = soon__segment_at(object, PF_X, address, 1);
    if (segment && search->found++ == 0)
        write_down(object, segment, search->code);
    return seen.has_build_id && search->found;
}

bool soon__code_find(const uint8_t id[SOON__OBJECT_ID], uint64_t offset, struct soon__code *code)
{
    struct search search = {.id = id, .offset = offset, .code = code};

    if (offset > UINTPTR_MAX)
        return false;
    dl_iterate_phdr(look_for, &search);
    return search.found && (id[0] || search.objects == 1);
}

/* ---- still the same? ---- */

struct check {
    struct soon__code *code;
    bool same;
};

/* What code says, but for the way to check it, of a segment that is there. */
static bool is_same(const struct dl_phdr_info *object, const struct soon__code *code)
{
    const soon__segment *segment = soon__segment_at(object, PF_X, code->start, 1);
    struct soon__code seen = {0};

    if (!segment || soon__segment_start(object, segment) != code->start ||
        segment->p_memsz != code->end - code->start || object->dlpi_addr != code->base)
        return false;
    identify(object, &seen);
    if (memcmp(seen.id, code->id, sizeof seen.id) != 0)
        return false;
    return seen.has_build_id ||
           ((segment->p_flags & PF_R) && digest_segment(object, segment) == code->digest);
}

static int check_object(struct dl_phdr_info *object, size_t size, void *data)
{
    struct check *check = data;
    struct soon__code *code = check->code;

    (void)size;
    /* relaxed, both: the number says by itself that the object was there, and
     * under the linker's lock it can't be out of date. */
    if (atomic_load_explicit(&code->checked, memory_order_relaxed) == object->dlpi_subs)
        check->same = true;
    else if (is_same(object, code)) {
        check->same = true;
        atomic_store_explicit(&code->checked, object->dlpi_subs, memory_order_relaxed);
    }
    return check->same;
}

bool soon__code_is_loaded(struct soon__code *code)
{
    struct check check = {.code = code, .same = code->is_program};

    if (!check.same)
        dl_iterate_phdr(check_object, &check);
    return check.same;
}

bool soon__code_stays(struct soon__code *code, uintptr_t address)
{
#if HAVE_FIND_OBJECT
    struct dl_find_object bounds;

    if (code->note)
        return _dl_find_object((void *)address, &bounds) == 0 &&
               (uintptr_t)bounds.dlfo_map_start == code->map_start &&
               (uintptr_t)bounds.dlfo_map_end == code->map_end &&
               note_desc_len(code->note) == code->id[0] &&
               memcmp(code->note + sizeof(struct note), code->id + 1, code->id[0]) == 0;
#else
    (void)address;
#endif
    return soon__code_is_loaded(code);
}

/* ---- names ---- */

struct naming {
    uintptr_t address;
    struct soon__place *place;
};

static int look_for_name(struct dl_phdr_info *object, size_t size, void *data)
{
    struct naming *naming = data;
    struct soon__place *place = naming->place;
    const char *name = is_program(object) ? program_invocation_short_name : base_name(object);

    (void)size;
    if (!soon__segment_at(object, 0, naming->address, 1))
        return 0;
    snprintf(place->object, sizeof place->object, "%s", name);
    place->offset = naming->address - object->dlpi_addr;
    soon__symbol_at(object, place->offset, place->symbol, sizeof place->symbol);
    return 1;
}

bool soon__place_at(uintptr_t address, struct soon__place *place)
{
    struct naming naming = {.address = address, .place = place};

    memset(place, 0, sizeof *place);
    return dl_iterate_phdr(look_for_name, &naming) != 0;
}
