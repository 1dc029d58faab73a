/* SPDX-License-Identifier: MIT */
#include "os/shm.h"

#include "os/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.3, and since then wanted by some systems' administrators. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

static int memfd(const char *name)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, flags);
    return fd < 0 ? -errno : fd;
}

static int add_seals(int fd, int seals)
{
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int soon__shm_new_open(const char *name, size_t size)
{
    if (soon__inject(SOON__INJECT_MEMFD))
        return -EMFILE;
    int fd = memfd(name);
    if (fd < 0)
        return fd;
    if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0) {
        close(fd);
        return -ENOMEM; /* more than a file can have */
    }
    return fd;
}

int soon__shm_new(const char *name, size_t size)
{
    int fd = soon__shm_new_open(name, size);
    if (fd < 0)
        return fd;
    int error = add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (!error)
        return fd;
    close(fd);
    return error;
}

/* Pages of a file that nobody has written yet have no memory. */
static bool is_all_there(const struct stat *about, uintmax_t size)
{
    return (uintmax_t)about->st_blocks >= size / 512 + (size % 512 != 0);
}

int soon__shm_seal(int fd)
{
    struct stat about;

    if (fstat(fd, &about) < 0 ||
        (!is_all_there(&about, (uintmax_t)about.st_size) && fallocate(fd, 0, 0, about.st_size) < 0))
        return -ENOMEM;
    return add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

int soon__shm_seal_for_others(int fd)
{
    return add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

static int write_all(int fd, const unsigned char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -ENOMEM; /* the only thing that it takes */
        data += n < 0 ? 0 : n;
        len -= n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

/* Each try waits in the kernel for up to 0.15 s. */
int soon__shm_seal_unmapped(int fd)
{
    enum { TRIES = 64 };
    int error = -EBUSY;

    for (int i = 0; i < TRIES && error == -EBUSY; i++)
        error = soon__shm_seal(fd);
    return error;
}

int soon__shm_filled(const char *name, const void *data, size_t len)
{
    int saved = errno, fd = soon__shm_new_open(name, len);

    if (fd < 0)
        return fd;
    int error = write_all(fd, data, len);
    if (!error)
        error = soon__shm_seal_unmapped(fd);
    if (error)
        close(fd);
    errno = saved;
    return error ? error : fd;
}

bool soon__shm_is_frozen(int fd, size_t size)
{
    const int frozen = F_SEAL_SHRINK | F_SEAL_WRITE;
    struct stat about;

    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & frozen) == frozen && fstat(fd, &about) == 0 &&
           about.st_size >= 0 && (uintmax_t)about.st_size >= size && is_all_there(&about, size);
}

void *soon__shm_map(int fd, size_t offset, size_t size, unsigned use)
{
    int access = use & SOON__SHM_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    int populate = use & SOON__SHM_NOW ? MAP_POPULATE : 0;

    if (soon__inject(SOON__INJECT_MMAP))
        return NULL;
    void *memory = mmap(NULL, size, access, MAP_SHARED | populate, fd, (off_t)offset);
    /* Before Linux 6.7 a file that is sealed against writing cannot be mapped
     * shared, not even for reading. */
    if (memory == MAP_FAILED && errno == EPERM && access == PROT_READ)
        memory = mmap(NULL, size, access, MAP_PRIVATE | populate, fd, (off_t)offset);
    if (memory == MAP_FAILED)
        return NULL;
    if (use & SOON__SHM_PRIVATE && madvise(memory, size, MADV_DONTFORK) < 0) {
        munmap(memory, size);
        return NULL;
    }
    return memory;
}

void soon__shm_unmap(void *memory, size_t size)
{
    int saved = errno;

    munmap(memory, size);
    errno = saved;
}

size_t soon__shm_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}
