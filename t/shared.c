/* SPDX-License-Identifier: MIT */
/*
 * Memory that a test shares with its tasks in whatever process they run. A
 * forked worker has it because it is a shared mapping. A spawned one is another
 * run of this program: each piece is a file without a name that stays open over
 * an exec, and a variable in the environment says what goes where.
 */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

/* Where pieces are put: far from where the kernel puts anything by itself, so
 * that the place is free in every run of the program. */
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)
#define FIRST_PLACE UINT64_C(0x2000000000) /* below its shadow */
#else
#define FIRST_PLACE UINT64_C(0x200000000000)
#endif

static const char variable[] = "SOON_TEST_SHARED";

enum { PIECES = 64 };

/* Sync: the test's own thread. */
static struct piece {
    void *memory; /* NULL: unused */
    size_t size;
    int fd;
} pieces[PIECES];

static size_t whole_pages(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

/* Lists the pieces as FD:ADDRESS:SIZE, with a comma after each. */
static void tell_spawned_workers(void)
{
    char text[PIECES * 64] = "";
    size_t len = 0;

    for (int i = 0; i < PIECES; i++)
        if (pieces[i].memory)
            len += (size_t)snprintf(text + len, sizeof text - len, "%d:%" PRIxPTR ":%zx,",
                                    pieces[i].fd, (uintptr_t)pieces[i].memory, pieces[i].size);
    REQUIRE(len < sizeof text);
    REQUIRE(setenv(variable, text, 1) == 0);
}

/* The address is only a wish, for systems with fewer bits of it. */
static void *map_new(int fd, size_t size)
{
    static uint64_t next_place = FIRST_PLACE;
    void *memory =
        mmap((void *)(uintptr_t)next_place, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    next_place += whole_pages(size);
    REQUIRE(memory != MAP_FAILED);
    return memory;
}

void *shared_new(size_t size)
{
    int i = 0, fd = memfd_create("soon-test-shared", 0);

    while (i < PIECES && pieces[i].memory)
        i++;
    REQUIRE(i < PIECES);
    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, (off_t)size) == 0);
    pieces[i] = (struct piece){map_new(fd, size), size, fd};
    tell_spawned_workers();
    return pieces[i].memory;
}

void shared_free(void *memory, size_t size)
{
    int i = 0;

    while (i < PIECES && pieces[i].memory != memory)
        i++;
    REQUIRE(i < PIECES);
    REQUIRE(pieces[i].size == size);
    REQUIRE(munmap(memory, size) == 0);
    REQUIRE(close(pieces[i].fd) == 0);
    pieces[i] = (struct piece){0};
    tell_spawned_workers();
}

void *shared_page(void)
{
    REQUIRE(pieces[0].memory);
    return pieces[0].memory;
}

void shared_page_clear(void)
{
    memset(shared_page(), 0, SHARED_PAGE);
}

static void map_all(const char *text)
{
    uintptr_t address;
    size_t size;
    int fd, used;

    for (int i = 0; *text; i++) {
        void *memory;

        REQUIRE(i < PIECES);
        REQUIRE(sscanf(text, "%d:%" SCNxPTR ":%zx,%n", &fd, &address, &size, &used) == 3);
        memory = mmap((void *)address, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
        REQUIRE(memory == (void *)address);
        pieces[i] = (struct piece){memory, size, fd};
        text += used;
    }
}

void shared_begin(void)
{
    const char *text = getenv(variable);

    if (text)
        map_all(text);
    else
        shared_new(SHARED_PAGE);
}
