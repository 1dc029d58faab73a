/* SPDX-License-Identifier: MIT */
/*
 * The only file that knows jemalloc, and only its mallocx family: linking
 * libsoon must not change the host's malloc. In the shared library these
 * calls resolve to libjemalloc.so, which a program that links just libsoon
 * has after libc in its look-up order. The static archive would put jemalloc's
 * malloc into the program itself, so there (no PIC) the program's own malloc
 * serves.
 */
#include "core/mem.h"

#include "config.h"
#include "os/inject.h"

#include <stdlib.h>
#include <string.h>

#if defined SOON_JEMALLOC && defined PIC

#include <jemalloc/jemalloc.h>

static void *allocate(size_t size, bool zero)
{
    return mallocx(size ? size : 1, MALLOCX_ALIGN(16) | (zero ? MALLOCX_ZERO : 0));
}

static void release(void *p, size_t size)
{
    sdallocx(p, size ? size : 1, MALLOCX_ALIGN(16));
}

static void *allocate_line(size_t size)
{
    return mallocx(size, MALLOCX_ALIGN(SOON__LINE));
}

static void release_line(void *p, size_t size)
{
    sdallocx(p, size, MALLOCX_ALIGN(SOON__LINE));
}

#else

static void *allocate(size_t size, bool zero)
{
    return zero ? calloc(1, size ? size : 1) : malloc(size ? size : 1);
}

static void release(void *p, size_t size)
{
    (void)size;
    free(p);
}

static void *allocate_line(size_t size)
{
    return aligned_alloc(SOON__LINE, size);
}

static void release_line(void *p, size_t size)
{
    release(p, size);
}

#endif

void *soon__alloc(size_t size)
{
    return soon__inject(SOON__INJECT_ALLOC) ? NULL : allocate(size, false);
}

void *soon__zalloc(size_t size)
{
    return soon__inject(SOON__INJECT_ALLOC) ? NULL : allocate(size, true);
}

void soon__free(void *p, size_t size)
{
    if (p)
        release(p, size);
}

/* Whole lines, also because aligned_alloc() insists. */
static size_t lines(size_t size)
{
    return (size + SOON__LINE - 1) & ~(size_t)(SOON__LINE - 1);
}

void *soon__alloc_line(size_t size)
{
    return soon__inject(SOON__INJECT_ALLOC) ? NULL : allocate_line(lines(size));
}

void *soon__alloc_spare(size_t size)
{
    return soon__inject(SOON__INJECT_SPARE) ? NULL : allocate_line(lines(size));
}

void soon__free_line(void *p, size_t size)
{
    if (p)
        release_line(p, lines(size));
}

void *soon__alloc_array(size_t count, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(count, size, &total) ? NULL : soon__alloc(total);
}

char *soon__copy_string(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = soon__alloc(size);

    return copy ? memcpy(copy, s, size) : NULL;
}

void soon__free_string(char *s)
{
    if (s)
        release(s, strlen(s) + 1);
}
