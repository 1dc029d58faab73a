/* SPDX-License-Identifier: MIT */
/*
 * The library's one door to the allocator: jemalloc or libc.
 *
 * Memory is aligned to 16. Freeing takes the size that was asked for, which
 * spares jemalloc a look-up.
 */
#ifndef SOON_CORE_MEM_H
#define SOON_CORE_MEM_H

#include <soon/base.h>

/* NULL when there is none. size 0 gives a pointer that is not NULL. */
void *soon__alloc(size_t size);
void *soon__zalloc(size_t size);

/* p may be NULL. */
void soon__free(void *p, size_t size);

/* Memory that shares no cache line with anything else. */
enum { SOON__LINE = 64 };
void *soon__alloc_line(size_t size);
void soon__free_line(void *p, size_t size);

/* The same for who can do without. */
void *soon__alloc_spare(size_t size);

/* An array of count elements; NULL also when the size overflows. */
void *soon__alloc_array(size_t count, size_t size);

/* A copy of a string; NULL when there is no memory. Freed with
 * soon__free_string(), which takes NULL. */
char *soon__copy_string(const char *s);
void soon__free_string(char *s);

#endif
