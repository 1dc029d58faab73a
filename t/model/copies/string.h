/* SPDX-License-Identifier: MIT */
/*
 * The system's <string.h>, but for memcpy(), with which the sources of the
 * process pool get bytes into memory that processes share, and out of it: the
 * model looks at each.
 */
#ifndef SOON_MODEL_STRING_H
#define SOON_MODEL_STRING_H

#include_next <string.h>

void *world_copy(void *to, const void *from, size_t n);

#undef memcpy
#define memcpy(to, from, n) world_copy(to, from, n)

#endif
