/* SPDX-License-Identifier: MIT */
#include "os/event.h"

#include "os/inject.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int soon__event_new(void)
{
    if (soon__inject(SOON__INJECT_EVENTFD))
        return -EMFILE;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* A full counter (EAGAIN) is readable all the same, and an empty one
 * unreadable: neither result needs looking at. */
void soon__event_set(int fd)
{
    int saved = errno;
    (void)!eventfd_write(fd, 1);
    errno = saved;
}

void soon__event_clear(int fd)
{
    int saved = errno;
    eventfd_t count;
    (void)!eventfd_read(fd, &count);
    errno = saved;
}

void soon__event_close(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
}
