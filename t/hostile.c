/* SPDX-License-Identifier: MIT */
#include "hostile.h"

#include <stdio.h>
#include <unistd.h>

/* ---- what a worker can reach ---- */

struct soon__channel *find_channel(size_t *size)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned char *first = NULL;
    char line[1024], flags[8];
    size_t from, to;

    REQUIRE(maps);
    *size = 0;
    while (fgets(line, sizeof line, maps)) {
        if (!strstr(line, "/memfd:soon-channel") ||
            sscanf(line, "%zx-%zx %7s", &from, &to, flags) != 3 || strcmp(flags, "rw-s") != 0)
            continue;
        if (!first)
            first = (unsigned char *)from;
        REQUIRE(first + *size == (unsigned char *)from);
        *size += to - from;
    }
    fclose(maps);
    REQUIRE(first);
    return (struct soon__channel *)first;
}

bool leads_to(int fd, const char *what)
{
    char path[64], target[256];
    ssize_t len;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    len = readlink(path, target, sizeof target - 1);
    target[len < 0 ? 0 : len] = '\0';
    return strstr(target, what) && !strstr(target, "soon-test");
}

/* ---- the innocent ---- */

soon_future *submit_innocent(soon_executor *ex, int n)
{
    return submit_named(ex, task_square, &n, sizeof n, "innocent", SOON_SECONDS(3600));
}

static soon_future *submit_innocent_bytes(soon_executor *ex, const char *bytes, size_t len)
{
    return submit_named(ex, task_echo, bytes, len, "innocent", SOON_SECONDS(3600));
}

void assert_innocents_are_right(soon_executor *ex)
{
    enum { LARGE = 300000, N = INNOCENTS - 4 };
    static char bytes[LARGE];
    soon_future *squares[N], *large[4];

    memset(bytes, 'i', LARGE);
    for (int i = 0; i < N; i++)
        squares[i] = submit_innocent(ex, i);
    for (int i = 0; i < 4; i++)
        large[i] = submit_innocent_bytes(ex, bytes, LARGE);
    for (int i = 0; i < N; i++)
        assert_result_int(squares[i], i * i);
    for (int i = 0; i < 4; i++)
        assert_result_bytes(large[i], bytes, LARGE);
    unref_all(squares, N);
    unref_all(large, 4);
}
