/* SPDX-License-Identifier: MIT */
#include "os/poll.h"

#include "os/clock.h"
#include "os/inject.h"

#include <errno.h>
#include <sys/epoll.h>

int soon__poll_new(void)
{
    if (soon__inject(SOON__INJECT_EVENTFD))
        return -EMFILE;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int soon__poll_add(int poll_fd, int fd, uint64_t token, bool edge)
{
    struct epoll_event event = {.events = EPOLLIN | (edge ? EPOLLET : 0), .data.u64 = token};

    return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* In whole milliseconds, rounded up: a wait that ends early would spin. */
static int milliseconds(soon_ns deadline)
{
    if (deadline == SOON__NEVER)
        return -1;
    soon_ns left = soon__remaining(deadline);
    return left > SOON_SECONDS(1000) ? 1000000 : (int)((left + 999999) / 1000000);
}

unsigned soon__poll_wait(int poll_fd, uint64_t *tokens, unsigned n, soon_ns deadline)
{
    enum { MOST = 64 };
    struct epoll_event events[MOST];
    int saved = errno;

    int got = epoll_wait(poll_fd, events, n < MOST ? (int)n : MOST, milliseconds(deadline));
    errno = saved;
    for (int i = 0; i < got; i++)
        tokens[i] = events[i].data.u64;
    return got > 0 ? (unsigned)got : 0;
}
