/* SPDX-License-Identifier: MIT */
#include "os/packet.h"

#include "os/inject.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Room for the descriptors of one message. */
union control {
    struct cmsghdr header;
    unsigned char space[CMSG_SPACE(SOON__PACKET_FDS * sizeof(int))];
};

int soon__packet_pair(int fds[2])
{
    if (soon__inject(SOON__INJECT_SOCKET))
        return -EMFILE;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}

void soon__packet_end(int fd)
{
    int saved = errno;

    shutdown(fd, SHUT_RDWR);
    errno = saved;
}

/* ---- sending ---- */

static int send_error(int error)
{
    return error == ECONNRESET || error == ENOTCONN ? -EPIPE : -error;
}

int soon__packet_send(int fd, const void *data, size_t len, const int *fds, unsigned n, bool wait)
{
    union control control;
    struct iovec part = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int saved = errno, flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    ssize_t sent;

    if (n) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n * sizeof *fds);
        memcpy(CMSG_DATA(&control.header), fds, n * sizeof *fds);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n * sizeof *fds);
    }
    while ((sent = sendmsg(fd, &message, flags)) < 0 && errno == EINTR)
        ;
    int error = sent < 0 ? send_error(errno) : 0;
    errno = saved;
    return error;
}

/* ---- receiving ---- */

/* The descriptors of a message, of which the kernel has installed as many as
 * there was room for. */
static unsigned take_fds(const struct msghdr *message, int *fds)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);

    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t bytes = header->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(header), bytes);
    return (unsigned)(bytes / sizeof *fds);
}

/* room: the descriptors that were allowed for; n: those that came. */
static int judge(const struct msghdr *message, ssize_t got, size_t len, unsigned room, unsigned n)
{
    if (got == 0)
        return -EPIPE;
    if ((size_t)got != len || message->msg_flags & MSG_TRUNC)
        return -EBADMSG;
    if (message->msg_flags & MSG_CTRUNC)
        return n < room ? -EMFILE : -EBADMSG;
    return 0;
}

int soon__packet_receive(int fd, void *data, size_t len, int *fds, unsigned *n, bool wait)
{
    union control control;
    struct iovec part = {.iov_base = data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int saved = errno, flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
    unsigned room = *n;
    ssize_t got;

    *n = 0;
    if (room) { /* not CMSG_SPACE, whose padding could hold one more */
        message.msg_control = &control;
        message.msg_controllen = CMSG_LEN(room * sizeof *fds);
    }
    /* ECONNRESET comes once, before what the other side had sent until then. */
    while ((got = recvmsg(fd, &message, flags)) < 0 && (errno == EINTR || errno == ECONNRESET))
        ;
    int error = got < 0 ? -errno : 0;
    if (!error) {
        *n = take_fds(&message, fds);
        error = judge(&message, got, len, room, *n);
    }
    if (error)
        for (; *n; --*n)
            close(fds[*n - 1]);
    errno = saved;
    return error;
}
