/* SPDX-License-Identifier: MIT */
/*
 * The segments of a loaded object, for callbacks of dl_iterate_phdr(). What
 * such a callback reads of an object's own tables, it checks with these to lie
 * in a readable segment: a table need not be where a header says.
 */
#ifndef SOON_OS_SEGMENT_H
#define SOON_OS_SEGMENT_H

#include <link.h>
#include <soon/base.h>

typedef ElfW(Phdr) soon__segment;

static inline uintptr_t soon__segment_start(const struct dl_phdr_info *object,
                                            const soon__segment *segment)
{
    return object->dlpi_addr + segment->p_vaddr;
}

/* The loaded segment with all the given flags that holds len bytes at address,
 * or NULL. */
static inline const soon__segment *soon__segment_at(const struct dl_phdr_info *object,
                                                    unsigned flags, uintptr_t address, size_t len)
{
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const soon__segment *segment = &object->dlpi_phdr[i];
        uintptr_t at = address - soon__segment_start(object, segment);

        if (segment->p_type == PT_LOAD && (segment->p_flags & flags) == flags &&
            at <= segment->p_memsz && len <= segment->p_memsz - at)
            return segment;
    }
    return NULL;
}

#endif
