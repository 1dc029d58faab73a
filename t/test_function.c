/* SPDX-License-Identifier: MIT */
/*
 * Functions that go into other processes: their names, how they are described
 * there, and found by what bytes may come.
 */
#include "function_cases.h"

#include "os/inject.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>

/* ---- shared ---- */

struct soon__found *found_now(void)
{
    struct soon__found *found = soon__functions_now();

    REQUIRE(found);
    return found;
}

struct soon__function describe(struct soon__found *found, bool forked, soon_fn *fn)
{
    struct soon__function function;
    char message[400] = "";

    if (soon__function_describe(found, forked, fn, &function, message, sizeof message) != 0)
        ck_abort_msg("no description: %s", message);
    return function;
}

bool can_describe(struct soon__found *found, bool forked, soon_fn *fn)
{
    struct soon__function function;
    char message[400];
    int error = soon__function_describe(found, forked, fn, &function, message, sizeof message);

    REQUIRE(error == 0 || error == -ENOENT);
    return error == 0;
}

void assert_unknown(struct soon__found *found, bool forked, soon_fn *fn, const char *words)
{
    static const struct soon__function nothing;
    struct soon__function function;
    char message[400] = "", list[400], *rest = list;

    memset(&function, 0xA5, sizeof function);
    ck_assert_int_eq(soon__function_describe(found, forked, fn, &function, message, sizeof message),
                     -ENOENT);
    ck_assert_mem_eq(&function, &nothing, sizeof function);
    snprintf(list, sizeof list, "%s", words);
    for (const char *word; (word = strsep(&rest, "|"));)
        if (!strstr(message, word))
            ck_abort_msg("\"%s\" does not say \"%s\"", message, word);
}

/* Never registered. */
static int own(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    (void)arg;
    (void)arg_len;
    return 7;
}

soon_fn *own_function(void)
{
    return own;
}

/* A function of a library that is linked in, where it is there. */
static soon_fn *linked_function(void)
{
    soon_fn *fn = (soon_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, "lsearch");

    REQUIRE(fn);
    return fn;
}

/* ---- names ---- */

static int shared(soon_call *call, const void *arg, size_t arg_len)
{
    return own(call, arg, arg_len) + 3;
}

static int other(soon_call *call, const void *arg, size_t arg_len)
{
    return own(call, arg, arg_len) + 1;
}

static int third(soon_call *call, const void *arg, size_t arg_len)
{
    return own(call, arg, arg_len) + 2;
}

START_TEST(a_name_is_of_one_function_and_a_function_has_one_name)
{
    assert_ok(soon_register("test.shared", shared));
    assert_ok(soon_register("test.shared", shared));
    ck_assert_int_eq(soon_register("test.shared", other), -EEXIST);
    ck_assert_int_eq(soon_register("test.mine", shared), -EEXIST);
    assert_ok(soon_register("test.other", other));
    ck_assert_int_eq(soon_register("test.shared", other), -EEXIST);
    ck_assert_int_eq(soon_register("test.other", shared), -EEXIST);
    assert_ok(soon_register("test.shared", shared));
    assert_ok(soon_register("test.other", other));
}
END_TEST

START_TEST(a_name_has_1_to_63_bytes)
{
    char name[65];

    memset(name, 'n', sizeof name);
    name[64] = '\0';
    ck_assert_int_eq(soon_register(name, third), -EINVAL);
    ck_assert_int_eq(soon_register("", third), -EINVAL);
    ck_assert_int_eq(soon_register(NULL, third), -EINVAL);
    ck_assert_int_eq(soon_register("test.third", NULL), -EINVAL);
    name[63] = '\0';
    assert_ok(soon_register(name, third));

    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, third);
    ck_assert_int_eq(function.kind, SOON__FUNCTION_NAMED);
    ck_assert_mem_eq(function.id, name, sizeof function.id);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)third);
    /* The name was copied. */
    memset(name, 'm', 63);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)third);
    soon__functions_free(found);
}
END_TEST

/* Functions with no other use, one or more a test: a name once given stays. */
#define SPARE(n)                                                           \
    static int spare_##n(soon_call *call, const void *arg, size_t arg_len) \
    {                                                                      \
        return own(call, arg, arg_len) + 100 + n;                          \
    }
SPARE(0)
SPARE(1)
SPARE(2)
SPARE(3)
SPARE(4)
SPARE(5)
SPARE(6)
SPARE(7)
SPARE(8)
SPARE(9)
SPARE(10)
SPARE(11)
SPARE(12)
SPARE(13)

static soon_fn *const racers[] = {spare_0, spare_1, spare_2, spare_3,
                                  spare_4, spare_5, spare_6, spare_7};
enum { RACERS = sizeof racers / sizeof racers[0], LAPS = 50 };

/* Each lap has two names. Racers that are even want the first, the odd ones
 * the second; whoever has got a name is out of the race. */
struct contest {
    pthread_barrier_t start;
    _Atomic unsigned winners[LAPS][2];
    _Atomic unsigned next;
};

static void contend(void *data)
{
    struct contest *contest = data;
    unsigned me = atomic_fetch_add(&contest->next, 1);
    bool has_name = false;
    char name[32];

    for (unsigned lap = 0; lap < LAPS; lap++) {
        pthread_barrier_wait(&contest->start);
        snprintf(name, sizeof name, "race.%u.%u", lap, me % 2);
        int error = soon_register(name, racers[me]);
        REQUIRE(error == 0 || error == -EEXIST);
        REQUIRE(!(has_name && error == 0));
        if (error == 0) {
            has_name = true;
            atomic_fetch_add(&contest->winners[lap][me % 2], 1);
        }
    }
}

START_TEST(of_all_that_want_a_name_at_once_one_gets_it)
{
    static struct contest contest;
    struct thread threads[RACERS];

    REQUIRE(pthread_barrier_init(&contest.start, NULL, RACERS) == 0);
    for (size_t i = 0; i < RACERS; i++)
        thread_start(&threads[i], contend, &contest);
    for (size_t i = 0; i < RACERS; i++)
        thread_join(&threads[i]);
    for (unsigned lap = 0; lap < LAPS; lap++)
        for (unsigned i = 0; i < 2; i++)
            ck_assert_uint_eq(contest.winners[lap][i], lap < RACERS / 2);
    REQUIRE(pthread_barrier_destroy(&contest.start) == 0);
}
END_TEST

START_TEST(without_memory_nothing_is_registered)
{
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_int_eq(soon_register("test.poor", spare_8), -ENOMEM);
    EXPECT(soon__inject_fired(SOON__INJECT_ALLOC));
    assert_ok(soon_register("test.poor", spare_9));
    assert_ok(soon_register("test.rich", spare_8));
    /* The same pair again needs none. */
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    assert_ok(soon_register("test.rich", spare_8));
    EXPECT(!soon__inject_fired(SOON__INJECT_ALLOC));
    soon__inject_after(SOON__INJECT_ALLOC, 0);
}
END_TEST

START_TEST(names_that_came_later_do_not_count)
{
    struct soon__found *before = found_now(), *after;

    assert_ok(soon_register("test.late", spare_10));
    ck_assert_int_eq(describe(before, SPAWNED, spare_10).kind, SOON__FUNCTION_IN_OBJECT);
    after = found_now();
    ck_assert_int_eq(describe(after, SPAWNED, spare_10).kind, SOON__FUNCTION_NAMED);
    ck_assert_int_eq(describe(before, SPAWNED, spare_10).kind, SOON__FUNCTION_IN_OBJECT);
    soon__functions_free(before);
    soon__functions_free(after);
}
END_TEST

void add_register_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "names");

    tcase_add_test(tc, a_name_is_of_one_function_and_a_function_has_one_name);
    tcase_add_test(tc, a_name_has_1_to_63_bytes);
    tcase_add_test(tc, of_all_that_want_a_name_at_once_one_gets_it);
    tcase_add_test(tc, without_memory_nothing_is_registered);
    tcase_add_test(tc, names_that_came_later_do_not_count);
}

/* ---- descriptions ---- */

START_TEST(a_forked_worker_is_told_the_address)
{
    soon_fn *fns[] = {own, task_echo, linked_function()};
    struct soon__found *found = found_now();

    for (size_t i = 0; i < sizeof fns / sizeof fns[0]; i++) {
        struct soon__function function = describe(found, FORKED, fns[i]);
        ck_assert_int_eq(function.kind, SOON__FUNCTION_ADDRESS);
        ck_assert_uint_eq(function.offset, (uintptr_t)fns[i]);
        ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)fns[i]);
    }
    soon__functions_free(found);
}
END_TEST

START_TEST(a_spawned_worker_is_told_object_and_offset)
{
    soon_fn *fns[] = {own, task_echo, linked_function()};
    struct soon__found *found = found_now();

    for (size_t i = 0; i < sizeof fns / sizeof fns[0]; i++) {
        struct soon__function function = describe(found, SPAWNED, fns[i]);
        ck_assert_int_eq(function.kind, SOON__FUNCTION_IN_OBJECT);
        for (int again = 0; again < 2; again++)
            ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)fns[i]);
    }
    soon__functions_free(found);
}
END_TEST

START_TEST(code_in_no_object_may_be_there_after_a_fork_only)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)0);
    struct soon__found *found = found_now();
    soon_fn *fn;

    REQUIRE(page != MAP_FAILED);
    fn = (soon_fn *)(uintptr_t)page;
    ck_assert_uint_eq(describe(found, FORKED, fn).offset, (uintptr_t)page);
    assert_unknown(found, SPAWNED, fn, "cannot find the function at 0x|in no object file");
    soon__functions_free(found);
    REQUIRE(munmap(page, 4096) == 0);
}
END_TEST

START_TEST(data_is_no_function)
{
    static const int data[4] = {1, 2, 3, 4};
    struct soon__found *found = found_now();
    soon_fn *fn;

    fn = (soon_fn *)(uintptr_t)data;
    assert_unknown(found, FORKED, fn, "test_function|which is not code");
    assert_unknown(found, SPAWNED, fn, "test_function|which is not code");
    soon__functions_free(found);
}
END_TEST

START_TEST(without_memory_there_is_no_snapshot)
{
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_ptr_null(soon__functions_now());
    EXPECT(soon__inject_fired(SOON__INJECT_ALLOC));
    soon__functions_free(found_now());
    soon__functions_free(NULL);
}
END_TEST

START_TEST(describing_allocates_nothing)
{
    struct soon__found *found = found_now();

    soon__inject_after(SOON__INJECT_ALLOC, 1);
    describe(found, FORKED, own);
    describe(found, SPAWNED, own);
    EXPECT(!soon__inject_fired(SOON__INJECT_ALLOC));
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    soon__functions_free(found);
}
END_TEST

/* ---- hostile bytes ---- */

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Overwrites a few bytes of a good description, or all of them. */
static struct soon__function spoil(struct soon__function function, uint64_t *state)
{
    unsigned char *bytes = (unsigned char *)&function;
    size_t n = draw(state) % 8 ? draw(state) % 4 : sizeof function;

    for (size_t i = 0; i < n; i++)
        bytes[draw(state) % sizeof function] = (unsigned char)draw(state);
    if (draw(state) % 4 == 0)
        function.offset = draw(state) >> draw(state) % 64;
    if (draw(state) % 4 == 0)
        function.kind = (uint8_t)(draw(state) % 5);
    return function;
}

START_TEST(any_bytes_find_code_or_nothing)
{
    struct library bare = library_open(LIBRARY_BARE_ONE);
    struct soon__found *found;
    struct soon__function good[4];
    uint64_t state = 0x5eed;
    size_t hits = 0;

    assert_ok(soon_register("test.good", spare_11));
    found = found_now();
    good[0] = describe(found, SPAWNED, own);
    good[1] = describe(found, SPAWNED, linked_function());
    good[2] = describe(found, SPAWNED, bare.decode);
    good[3] = describe(found, SPAWNED, spare_11);
    for (size_t i = 0; i < scaled(200000); i++) {
        struct soon__function function = spoil(good[draw(&state) % 4], &state);
        soon_fn *fn = soon__function_find(&function);
        if (!fn || function.kind == SOON__FUNCTION_ADDRESS)
            continue;
        hits++;
        /* What is found is code, and so can be described again. */
        EXPECT(can_describe(found, FORKED, fn));
        EXPECT(function.kind == SOON__FUNCTION_NAMED ? fn == spare_11
                                                     : can_describe(found, SPAWNED, fn));
    }
    EXPECT(hits > 0);
    soon__functions_free(found);
    library_close(&bare);
}
END_TEST

START_TEST(what_is_not_there_is_not_found)
{
    struct soon__found *found = found_now();
    struct soon__function good = describe(found, SPAWNED, own), bad = good;

    bad.offset = 0; /* the ELF header */
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad.offset = UINT64_MAX;
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad.offset = good.offset + (UINT64_C(1) << 40);
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad = good;
    bad.id[5] ^= 1;
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad = good;
    bad.kind = 0;
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad.kind = SOON__FUNCTION_IN_OBJECT + 1;
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    bad = (struct soon__function){.kind = SOON__FUNCTION_NAMED, .id = "test.nobody"};
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    memset(bad.id, 'x', sizeof bad.id);
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    memset(bad.id, 0, sizeof bad.id);
    ck_assert_ptr_null((void *)soon__function_find(&bad));
    ck_assert_ptr_eq((void *)soon__function_find(&good), (void *)own);
    soon__functions_free(found);
}
END_TEST

/* ---- names to show ---- */

START_TEST(a_function_is_called_by_the_best_name_it_has)
{
    struct library library = library_open(LIBRARY_ONE);
    char name[128], expected[128], small[6];
    soon_fn *nowhere;

    assert_ok(soon_register("test.shown", spare_12));
    ck_assert_str_eq(soon__function_name(spare_12, name, sizeof name), "test.shown");
    ck_assert_str_eq(soon__function_name(library.decode, name, sizeof name), "decode");
    ck_assert_str_eq(soon__function_name(linked_function(), name, sizeof name), "lsearch");

    /* The symbol before it is not its name. */
    soon__function_name(library.quiet, name, sizeof name);
    ck_assert_str_eq(strncmp(name, LIBRARY_ONE "+0x", strlen(LIBRARY_ONE) + 3) ? name : "", "");
    soon__function_name(spare_13, name, sizeof name);
    EXPECT(strstr(name, "test_function+0x"));

    nowhere = (soon_fn *)(uintptr_t)0x10;
    ck_assert_str_eq(soon__function_name(nowhere, name, sizeof name), "0x10");
    snprintf(expected, sizeof expected, "test.");
    ck_assert_str_eq(soon__function_name(spare_12, small, sizeof small), expected);
    library_close(&library);
}
END_TEST

/* Wherever they are in the library's hash table. One may go by several names. */
START_TEST(the_functions_of_a_library_are_called_by_their_symbols)
{
    static const char *const symbols[] = {"lfind",  "lsearch",   "hsearch",   "tsearch", "twalk",
                                          "insque", "getsubopt", "hcreate_r", "ffsl",    "drand48",
                                          "l64a",   "a64l",      "ftw",       "labs",    "lldiv"};
    char name[128];

    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        soon_fn *fn = (soon_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, symbols[i]);
        REQUIRE(fn);
        soon__function_name(fn, name, sizeof name);
        ck_assert_ptr_eq(dlsym(RTLD_DEFAULT, name), (void *)fn);
    }
}
END_TEST

void add_describe_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "descriptions");

    tcase_add_test(tc, a_forked_worker_is_told_the_address);
    tcase_add_test(tc, a_spawned_worker_is_told_object_and_offset);
    tcase_add_test(tc, code_in_no_object_may_be_there_after_a_fork_only);
    tcase_add_test(tc, data_is_no_function);
    tcase_add_test(tc, without_memory_there_is_no_snapshot);
    tcase_add_test(tc, describing_allocates_nothing);
    tcase_add_test(tc, any_bytes_find_code_or_nothing);
    tcase_add_test(tc, what_is_not_there_is_not_found);
    tcase_add_test(tc, a_function_is_called_by_the_best_name_it_has);
    tcase_add_test(tc, the_functions_of_a_library_are_called_by_their_symbols);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("function");

    add_register_cases(suite);
    add_describe_cases(suite);
    add_loading_cases(suite);
    add_elsewhere_cases(suite);
    return suite;
}
