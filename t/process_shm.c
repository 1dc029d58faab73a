/* SPDX-License-Identifier: MIT */
/*
 * Memory that processes share: what seals promise holds against everybody who
 * has the descriptor.
 */
#include "process_cases.h"

#include "os/inject.h"
#include "os/shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 1 << 16 };

static off_t size_of(int fd)
{
    struct stat about;

    REQUIRE(fstat(fd, &about) == 0);
    return about.st_size;
}

START_TEST(its_size_is_for_ever)
{
    int fd = soon__shm_new("test", SIZE);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(size_of(fd), SIZE);
    ck_assert(ftruncate(fd, SIZE / 2) < 0 && errno == EPERM);
    ck_assert(ftruncate(fd, SIZE * 2) < 0 && errno == EPERM);
    ck_assert(pwrite(fd, "x", 1, SIZE) < 0);
    /* Nor can a worker forbid the program to write. */
    ck_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    close(fd);
}
END_TEST

START_TEST(it_is_zero_and_shared)
{
    const size_t page = soon__shm_pages(1);
    int fd = soon__shm_new("test", SIZE);
    unsigned char *one = soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE);
    const unsigned char *other = soon__shm_map(fd, page, SIZE - page, SOON__SHM_READ);

    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_nonnull(other);
    for (size_t i = 0; i < SIZE; i++)
        EXPECT(one[i] == 0);
    one[page] = 17;
    one[SIZE - 1] = 18;
    ck_assert_int_eq(other[0], 17);
    ck_assert_int_eq(other[SIZE - page - 1], 18);
    soon__shm_unmap(one, SIZE);
    soon__shm_unmap((void *)other, SIZE - page);
    close(fd);
}
END_TEST

START_TEST(what_is_sealed_for_others_they_can_only_read)
{
    int fd = soon__shm_new_open("test", SIZE);
    unsigned char *mine = soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE);

    ck_assert_ptr_nonnull(mine);
    assert_ok(soon__shm_seal_for_others(fd));
    const unsigned char *other = soon__shm_map(fd, 0, SIZE, SOON__SHM_READ);
    ck_assert_ptr_nonnull(other);
    mine[SIZE - 1] = 17;
    ck_assert_int_eq(other[SIZE - 1], 17);
    ck_assert_ptr_null(soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE));
    ck_assert(mprotect((void *)(uintptr_t)other, SIZE, PROT_READ | PROT_WRITE) < 0);
    ck_assert(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
    ck_assert(ftruncate(fd, SIZE / 2) < 0 && errno == EPERM);
    ck_assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) < 0);
    ck_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    soon__shm_unmap((void *)(uintptr_t)other, SIZE);
    soon__shm_unmap(mine, SIZE);
    close(fd);
}
END_TEST

START_TEST(a_full_file_is_frozen)
{
    int fd = soon__shm_new_open("test", SIZE);
    char *memory = soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE);

    ck_assert_ptr_nonnull(memory);
    strcpy(memory, "payload");
    ck_assert(!soon__shm_is_frozen(fd, SIZE));
    ck_assert_int_eq(soon__shm_seal(fd), -EBUSY); /* somebody could still write */
    ck_assert(!soon__shm_is_frozen(fd, SIZE));
    soon__shm_unmap(memory, SIZE);
    assert_ok(soon__shm_seal(fd));
    ck_assert(soon__shm_is_frozen(fd, SIZE));
    ck_assert(soon__shm_is_frozen(fd, 0));
    ck_assert(!soon__shm_is_frozen(fd, SIZE + 1));
    ck_assert_ptr_null(soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE));
    ck_assert(ftruncate(fd, 0) < 0 && pwrite(fd, "x", 1, 0) < 0);
    ck_assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) < 0);
    memory = soon__shm_map(fd, 0, SIZE, SOON__SHM_READ | SOON__SHM_NOW);
    ck_assert_ptr_nonnull(memory);
    ck_assert_str_eq(memory, "payload");
    soon__shm_unmap(memory, SIZE);
    close(fd);
}
END_TEST

/* Whatever a worker may hand over instead. */
static int pretended(int kind)
{
    int pipe_fds[2];
    char path[] = "/tmp/soon-test-XXXXXX";

    switch (kind) {
    case 0: /* may be truncated */
        return soon__shm_new_open("test", SIZE);
    case 1: /* may be written to */
        return soon__shm_new("test", SIZE);
    case 2:
        REQUIRE(pipe(pipe_fds) == 0);
        close(pipe_fds[1]);
        return pipe_fds[0];
    case 3: {
        int fd = mkstemp(path);
        REQUIRE(fd >= 0 && unlink(path) == 0 && ftruncate(fd, SIZE) == 0);
        return fd;
    }
    default: { /* those who map it already go on writing */
        int fd = soon__shm_new_open("test", SIZE);
        REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE) == 0);
        return fd;
    }
    }
}

/* A page, some bytes more, nothing; from a pipe's worth to more than write(2)
 * takes at once is the same. */
START_TEST(a_filled_file_is_frozen_and_has_the_bytes)
{
    static const size_t sizes[] = {1, 4096, 4097, 300000};
    char *bytes = malloc(300000), *seen;

    REQUIRE(bytes);
    for (int i = 0; i < 300000; i++)
        bytes[i] = (char)(i % 251);
    for (int i = 0; i < 4; i++) {
        int fd = soon__shm_filled("test", bytes, sizes[i]);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert(soon__shm_is_frozen(fd, sizes[i]));
        ck_assert_int_eq(size_of(fd), (off_t)sizes[i]);
        seen = soon__shm_map(fd, 0, sizes[i], SOON__SHM_READ);
        ck_assert_mem_eq(seen, bytes, sizes[i]);
        soon__shm_unmap(seen, sizes[i]);
        close(fd);
    }
    soon__inject_after(SOON__INJECT_MEMFD, 1);
    ck_assert_int_eq(soon__shm_filled("test", bytes, 1), -EMFILE);
    ck_assert_int_eq(soon__shm_filled("test", NULL, 1), -ENOMEM); /* and is closed */
    free(bytes);
}
END_TEST

/* A page in a pipe is one that somebody else may be writing to. */
static void *empty_the_pipe(void *data)
{
    const int *end = data;
    char page[4096];

    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    REQUIRE(read(*end, page, sizeof page) == sizeof page);
    return NULL;
}

START_TEST(a_page_that_is_busy_for_a_while_delays_the_seals)
{
    int ends[2], fd = soon__shm_new_open("test", SIZE);
    off_t from = 0;
    pthread_t thread;

    ck_assert_int_ge(fd, 0);
    REQUIRE(pipe(ends) == 0);
    ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
    ck_assert_int_eq(splice(fd, &from, ends[1], NULL, 4096, 0), 4096);
    ck_assert_int_eq(soon__shm_seal(fd), -EBUSY);
    REQUIRE(pthread_create(&thread, NULL, empty_the_pipe, &ends[0]) == 0);
    assert_ok(soon__shm_seal_unmapped(fd));
    REQUIRE(pthread_join(thread, NULL) == 0);
    EXPECT(soon__shm_is_frozen(fd, SIZE));
    close(fd);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(what_only_looks_frozen_is_not)
{
    int fd = pretended(_i);

    ck_assert_int_ge(fd, 0);
    ck_assert(!soon__shm_is_frozen(fd, 1));
    close(fd);
}
END_TEST

START_TEST(a_bad_descriptor_is_not_frozen)
{
    ck_assert(!soon__shm_is_frozen(-1, 0));
}
END_TEST

struct mappings {
    char *inherited, *private;
};

static int child_looks(void *data)
{
    const struct mappings *mappings = data;
    unsigned char pages[SIZE / 1024];

    if (mappings->inherited[0] != 'i')
        return 1;
    mappings->inherited[0] = 'I';
    return mincore(mappings->private, SIZE, pages) < 0 && errno == ENOMEM ? 0 : 2;
}

START_TEST(a_private_mapping_is_not_inherited)
{
    int fd = soon__shm_new("test", 2 * SIZE);
    struct mappings mappings = {
        .inherited = soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE),
        .private = soon__shm_map(fd, SIZE, SIZE, SOON__SHM_WRITE | SOON__SHM_PRIVATE)};

    ck_assert(mappings.inherited && mappings.private);
    mappings.inherited[0] = 'i';
    mappings.private[0] = 'p';
    assert_child(child_looks, &mappings);
    ck_assert_int_eq(mappings.inherited[0], 'I');
    ck_assert_int_eq(mappings.private[0], 'p');
    soon__shm_unmap(mappings.inherited, SIZE);
    soon__shm_unmap(mappings.private, SIZE);
    close(fd);
}
END_TEST

START_TEST(sizes_are_rounded_up_to_pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    ck_assert_uint_eq(soon__shm_pages(0), 0);
    ck_assert_uint_eq(soon__shm_pages(1), page);
    ck_assert_uint_eq(soon__shm_pages(page), page);
    ck_assert_uint_eq(soon__shm_pages(page + 1), 2 * page);
}
END_TEST

START_TEST(failures_leave_nothing)
{
    int fd;

    ck_assert_int_eq(soon__shm_new("test", SIZE_MAX), -ENOMEM);
    soon__inject_after(SOON__INJECT_MEMFD, 1);
    ck_assert_int_eq(soon__shm_new("test", SIZE), -EMFILE);
    fd = soon__shm_new("test", SIZE);
    soon__inject_after(SOON__INJECT_MMAP, 1);
    ck_assert_ptr_null(soon__shm_map(fd, 0, SIZE, SOON__SHM_WRITE));
    ck_assert_ptr_null(soon__shm_map(-1, 0, SIZE, SOON__SHM_WRITE));
    close(fd);
}
END_TEST

void add_shm_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "shared memory");

    tcase_add_test(tc, its_size_is_for_ever);
    tcase_add_test(tc, it_is_zero_and_shared);
    tcase_add_test(tc, what_is_sealed_for_others_they_can_only_read);
    tcase_add_test(tc, a_full_file_is_frozen);
    tcase_add_test(tc, a_filled_file_is_frozen_and_has_the_bytes);
    tcase_add_loop_test(tc, what_only_looks_frozen_is_not, 0, 5);
    tcase_add_test(tc, a_bad_descriptor_is_not_frozen);
    tcase_add_test(tc, a_page_that_is_busy_for_a_while_delays_the_seals);
    tcase_add_test(tc, a_private_mapping_is_not_inherited);
    tcase_add_test(tc, sizes_are_rounded_up_to_pages);
    tcase_add_test(tc, failures_leave_nothing);
}
