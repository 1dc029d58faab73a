/* SPDX-License-Identifier: MIT */
/*
 * A shared library for test_function. It is built several times, with and
 * without a build-id, as builds that differ in one number and in nothing else:
 * NUMBER.
 */
#include <soon/call.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

soon_fn decode;
soon_fn *decode_quietly_function(void);

int decode(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    (void)arg;
    (void)arg_len;
    return NUMBER;
}

/* Has no symbol that a program can see. */
static int decode_quietly(soon_call *call, const void *arg, size_t arg_len)
{
    return 1000 + decode(call, arg, arg_len);
}

soon_fn *decode_quietly_function(void)
{
    return decode_quietly;
}

/* With two eventfds in the environment: says on the first one that it has
 * begun, and waits for the second. The loader's lock is held all the while. */
__attribute__((constructor)) static void dawdle(void)
{
    const char *fds = getenv("SOON_T_DAWDLE");
    struct pollfd release = {.events = POLLIN};
    unsigned long long one = 1;
    int begun;

    if (!fds || sscanf(fds, "%d %d", &begun, &release.fd) != 2)
        return;
    if (write(begun, &one, sizeof one) != sizeof one || poll(&release, 1, -1) != 1)
        abort();
}
