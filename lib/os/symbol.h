/* SPDX-License-Identifier: MIT */
/*
 * The dynamic symbols of a loaded object.
 */
#ifndef SOON_OS_SYMBOL_H
#define SOON_OS_SYMBOL_H

#include "os/segment.h"

/* Copies the name of the function that begins at offset in the object, perhaps
 * cut; "" if no symbol says so, as for static functions. Inside a callback of
 * dl_iterate_phdr(). */
void soon__symbol_at(const struct dl_phdr_info *object, uint64_t offset, char *name, size_t size);

#endif
