/* SPDX-License-Identifier: MIT */
#include "os/kept_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Numbers from here on: above what most programs use, and below 1024, from
 * where on a table of descriptors would get larger than it mostly may be. */
static int high_number(void)
{
    enum { HIGHEST = 1024, ROOM = 64 };
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    int end = limit.rlim_cur < HIGHEST ? (int)limit.rlim_cur : HIGHEST;
    return end > ROOM ? end - ROOM : 0;
}

struct soon__kept_fd soon__fd_keep(int fd)
{
    struct soon__kept_fd kept = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, high_number())};
    struct stat about;

    if (kept.fd > fd) {
        close(fd);
    } else {
        if (kept.fd >= 0)
            close(kept.fd);
        kept.fd = fd;
    }
    if (fstat(kept.fd, &about) == 0) {
        kept.device = about.st_dev;
        kept.inode = about.st_ino;
        kept.type = about.st_mode & S_IFMT;
    }
    return kept;
}

bool soon__fd_is_kept(const struct soon__kept_fd *kept)
{
    int saved = errno;
    struct stat about;

    bool there = fstat(kept->fd, &about) == 0 && about.st_dev == kept->device &&
                 about.st_ino == kept->inode && (about.st_mode & S_IFMT) == kept->type;
    errno = saved;
    return there;
}
