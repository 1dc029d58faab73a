/* SPDX-License-Identifier: MIT */
/*
 * Memory that processes share, without a name anywhere (memfd_create(2)).
 *
 * A file that another process may shrink is a trap: touching what is no longer
 * there raises SIGBUS. So every file here is sealed against that, and one that
 * comes from elsewhere is looked at before it is mapped.
 */
#ifndef SOON_OS_SHM_H
#define SOON_OS_SHM_H

#include <soon/base.h>

/* A file of size zero bytes, close-on-exec, that can neither shrink nor grow.
 * The descriptor, or a negative errno. */
int soon__shm_new(const char *name, size_t size);

/* The same without the seals, for soon__shm_seal() when it is full. */
int soon__shm_new_open(const char *name, size_t size);

/* Seals a file that is mapped here so that it stays as large as it is, and that
 * only this mapping can write to it: who else gets it can read it. 0, or a
 * negative errno. */
int soon__shm_seal_for_others(int fd);

/* A file with these bytes, sealed as by soon__shm_seal(). It is never mapped on
 * the way: a fork of the program in between would leave a writable mapping in
 * the child, and the file could not be sealed. The descriptor, or a negative
 * errno. */
int soon__shm_filled(const char *name, const void *data, size_t len);

/* Seals it against shrinking, growing and, with no writable mapping of it left,
 * writing. 0, or a negative errno (-EBUSY: there is one). */
int soon__shm_seal(int fd);

/* The same for a file that nobody has ever mapped. That it is busy then means
 * that the kernel still has pages of it on a list of what was written last, or
 * in a pipe, which passes: on a busy machine after longer than one try takes. */
int soon__shm_seal_unmapped(int fd);

/* Is it a file that can neither shrink nor be written to any more, by anybody,
 * of at least size bytes? */
bool soon__shm_is_frozen(int fd, size_t size);

enum soon__shm_use {
    SOON__SHM_READ = 0,
    SOON__SHM_WRITE = 1,   /* for reading and writing */
    SOON__SHM_PRIVATE = 2, /* not there in children that this process forks */
    SOON__SHM_NOW = 4,     /* with its pages, where they exist already */
};

/* Maps [offset, offset + size), both multiples of the page size except that
 * size may end within a page: the address, or NULL. */
void *soon__shm_map(int fd, size_t offset, size_t size, unsigned use);
void soon__shm_unmap(void *memory, size_t size);

/* size rounded up to pages. */
size_t soon__shm_pages(size_t size);

#endif
