/* SPDX-License-Identifier: MIT */
/*
 * Objects that are loaded and unloaded behind a snapshot's back. The loader
 * puts a library where one of the same size has just been; the tests make sure
 * that it did.
 */
#include "function_cases.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* ---- libraries that come and go ---- */

const char *library_path(const char *name, char path[static 4096])
{
    ssize_t len = readlink("/proc/self/exe", path, 4095);

    REQUIRE(len > 0);
    path[len] = '\0';
    snprintf(strrchr(path, '/') + 1, 4096 - (size_t)len, "%s", name);
    return path;
}

struct library library_open_file(const char *path)
{
    struct library library = {.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    soon_fn *(*quiet_function)(void);

    if (!library.handle)
        fprintf(stderr, "%s\n", dlerror());
    REQUIRE(library.handle);
    library.decode = (soon_fn *)(uintptr_t)dlsym(library.handle, "decode");
    quiet_function =
        (soon_fn * (*)(void))(uintptr_t)dlsym(library.handle, "decode_quietly_function");
    REQUIRE(library.decode && quiet_function);
    library.quiet = quiet_function();
    return library;
}

struct library library_open(const char *name)
{
    char path[4096];

    return library_open_file(library_path(name, path));
}

void library_close(struct library *library)
{
    REQUIRE(dlclose(library->handle) == 0);
    *library = (struct library){0};
}

/* Opens what is to lie where fn was. */
static struct library open_in_place(const char *path, soon_fn *decode)
{
    struct library library = library_open_file(path);

    if (library.decode != decode)
        ck_abort_msg("the loader has put %s elsewhere", path);
    return library;
}

/* Keeps the page of an address from being used again. */
static void *block_page(soon_fn *fn)
{
    void *page = (void *)((uintptr_t)fn & ~(uintptr_t)(PAGE - 1));
    void *got = mmap(page, PAGE, PROT_READ | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, (off_t)0);

    REQUIRE(got == page);
    return page;
}

static void unblock_page(void *page)
{
    REQUIRE(munmap(page, PAGE) == 0);
}

/* A directory with two more, for two files of one name. */
struct folder {
    char path[64], first[80], second[80];
};

static struct folder folder_make(const char *name)
{
    const char *where = getenv("TMPDIR");
    struct folder folder;

    snprintf(folder.path, sizeof folder.path, "%.40s/function-XXXXXX", where ? where : "/tmp");
    REQUIRE(mkdtemp(folder.path));
    snprintf(folder.first, sizeof folder.first, "%s/1", folder.path);
    snprintf(folder.second, sizeof folder.second, "%s/2", folder.path);
    REQUIRE(mkdir(folder.first, 0700) == 0 && mkdir(folder.second, 0700) == 0);
    snprintf(folder.first, sizeof folder.first, "%s/1/%s", folder.path, name);
    snprintf(folder.second, sizeof folder.second, "%s/2/%s", folder.path, name);
    return folder;
}

static void folder_free(struct folder *folder)
{
    unlink(folder->first);
    unlink(folder->second);
    *strrchr(folder->first, '/') = *strrchr(folder->second, '/') = '\0';
    REQUIRE(rmdir(folder->first) == 0 && rmdir(folder->second) == 0 && rmdir(folder->path) == 0);
}

/* Puts a copy of a library at path, as an installer would: a new file. */
static void install(const char *library, const char *path)
{
    char from[4096], bytes[4096];
    int in = open(library_path(library, from), O_RDONLY | O_CLOEXEC), out;
    ssize_t n;

    REQUIRE(unlink(path) == 0 || errno == ENOENT);
    out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    REQUIRE(in >= 0 && out >= 0);
    while ((n = read(in, bytes, sizeof bytes)) > 0)
        REQUIRE(write(out, bytes, (size_t)n) == n);
    REQUIRE(n == 0 && close(in) == 0 && close(out) == 0);
}

/* ---- later ones ---- */

/* With a build-id and without. */
static const char *const kinds[] = {LIBRARY_ONE, LIBRARY_BARE_ONE};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

START_TEST(a_library_that_was_there_is_known)
{
    struct library library = library_open(kinds[_i]);
    struct soon__found *found = found_now();
    soon_fn *fns[] = {library.decode, library.quiet};

    for (size_t i = 0; i < 2; i++) {
        struct soon__function function = describe(found, FORKED, fns[i]);
        ck_assert_int_eq(function.kind, SOON__FUNCTION_ADDRESS);
        ck_assert_uint_eq(function.offset, (uintptr_t)fns[i]);
        function = describe(found, SPAWNED, fns[i]);
        ck_assert_int_eq(function.kind, SOON__FUNCTION_IN_OBJECT);
        ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)fns[i]);
    }
    soon__functions_free(found);
    library_close(&library);
}
END_TEST

START_TEST(a_library_that_was_loaded_later_is_not)
{
    struct soon__found *found = found_now();
    struct library library = library_open(kinds[_i]);
    char words[100];

    snprintf(words, sizeof words, "'decode' of %s, |after the pool was made", kinds[_i]);
    assert_unknown(found, FORKED, library.decode, words);
    snprintf(words, sizeof words, "'decode' of %s, |after soon_init()", kinds[_i]);
    assert_unknown(found, SPAWNED, library.decode, words);
    /* A static function has no name, and must not borrow another's. */
    snprintf(words, sizeof words, "the function at 0x| of %s, ", kinds[_i]);
    assert_unknown(found, FORKED, library.quiet, words);
    assert_unknown(found, SPAWNED, library.quiet, words);

    struct soon__found *later = found_now();
    EXPECT(can_describe(later, FORKED, library.decode));
    EXPECT(can_describe(later, SPAWNED, library.quiet));
    soon__functions_free(later);
    soon__functions_free(found);
    library_close(&library);
}
END_TEST

/* ---- those that have gone ---- */

START_TEST(a_library_that_was_unloaded_is_unknown)
{
    struct library library = library_open(kinds[_i]);
    struct soon__found *found = found_now();
    soon_fn *fn = library.decode;

    library_close(&library);
    assert_unknown(found, FORKED, fn, "the function at 0x|has been unloaded");
    assert_unknown(found, SPAWNED, fn, "the function at 0x|has been unloaded");
    /* Nor is code that was made in its place. */
    void *page = block_page(fn);
    assert_unknown(found, FORKED, fn, "the function at 0x|has been unloaded");
    unblock_page(page);
    soon__functions_free(found);
}
END_TEST

START_TEST(a_library_that_took_the_place_of_another_is_unknown)
{
    static const char *const others[] = {LIBRARY_TWO, LIBRARY_BARE_TWO};
    struct library library = library_open(kinds[_i]);
    soon_fn *decode = library.decode;
    char path[4096];

    for (int round = 0; round < 3; round++) {
        struct soon__found *found = found_now();
        EXPECT(can_describe(found, FORKED, decode));
        EXPECT(can_describe(found, SPAWNED, decode));
        library_close(&library);
        library = open_in_place(library_path(others[_i], path), decode);
        ck_assert_int_eq(decode(NULL, NULL, 0), NUMBER_TWO);
        assert_unknown(found, FORKED, decode, "after the pool was made");
        assert_unknown(found, SPAWNED, decode, "after soon_init()");
        library_close(&library);
        library = open_in_place(library_path(kinds[_i], path), decode);
        ck_assert_int_eq(decode(NULL, NULL, 0), NUMBER_ONE);
        EXPECT(can_describe(found, FORKED, decode));
        EXPECT(can_describe(found, SPAWNED, decode));
        soon__functions_free(found);
    }
    library_close(&library);
}
END_TEST

/* A plug-in that was compiled anew: same file name, same size, same place. */
START_TEST(a_library_that_was_rebuilt_is_unknown)
{
    static const char *const others[] = {LIBRARY_TWO, LIBRARY_BARE_TWO};
    struct folder folder = folder_make("plugin.so");

    install(kinds[_i], folder.first);
    struct library library = library_open_file(folder.first);
    soon_fn *decode = library.decode;
    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, decode);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)decode);

    library_close(&library);
    install(others[_i], folder.first);
    library = open_in_place(folder.first, decode);
    ck_assert_int_eq(decode(NULL, NULL, 0), NUMBER_TWO);
    assert_unknown(found, FORKED, decode, "'decode' of plugin.so|after the pool was made");
    assert_unknown(found, SPAWNED, decode, "'decode' of plugin.so|after soon_init()");

    library_close(&library);
    install(kinds[_i], folder.first);
    library = open_in_place(folder.first, decode);
    EXPECT(can_describe(found, FORKED, decode));
    EXPECT(can_describe(found, SPAWNED, decode));
    library_close(&library);
    soon__functions_free(found);
    folder_free(&folder);
}
END_TEST

START_TEST(a_library_stays_known_while_others_come_and_go)
{
    struct library library = library_open(kinds[_i]);
    struct soon__found *found = found_now();

    for (size_t i = 0; i < scaled(200); i++) {
        struct library passing = library_open(_i ? LIBRARY_BARE_TWO : LIBRARY_TWO);
        EXPECT(can_describe(found, FORKED, library.decode));
        EXPECT(!can_describe(found, FORKED, passing.decode));
        library_close(&passing);
        EXPECT(can_describe(found, FORKED, library.decode));
        EXPECT(can_describe(found, SPAWNED, library.quiet));
    }
    soon__functions_free(found);
    library_close(&library);
}
END_TEST

START_TEST(a_library_that_moved_is_known_to_the_spawned_only)
{
    struct library library = library_open(kinds[_i]);
    struct soon__found *found = found_now();
    soon_fn *before = library.decode;
    struct soon__function function = describe(found, SPAWNED, before);

    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)before);
    library_close(&library);
    ck_assert_ptr_null((void *)soon__function_find(&function));

    void *page = block_page(before);
    library = library_open(kinds[_i]);
    ck_assert_ptr_ne((void *)library.decode, (void *)before);
    assert_unknown(found, FORKED, library.decode, "'decode'|after the pool was made");
    struct soon__function again = describe(found, SPAWNED, library.decode);
    ck_assert_mem_eq(&again, &function, sizeof again);
    ck_assert_ptr_eq((void *)soon__function_find(&again), (void *)library.decode);
    unblock_page(page);
    library_close(&library);
    soon__functions_free(found);
}
END_TEST

START_TEST(a_worker_does_not_find_what_took_the_place_of_another)
{
    static const char *const others[] = {LIBRARY_TWO, LIBRARY_BARE_TWO};
    struct library library = library_open(kinds[_i]);
    soon_fn *decode = library.decode;
    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, decode);
    char path[4096];

    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)decode);
    library_close(&library);
    library = open_in_place(library_path(others[_i], path), decode);
    ck_assert_ptr_null((void *)soon__function_find(&function));
    library_close(&library);
    library = open_in_place(library_path(kinds[_i], path), decode);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)decode);
    library_close(&library);
    soon__functions_free(found);
}
END_TEST

/* ---- names ---- */

START_TEST(a_name_goes_with_its_library)
{
    static const char *const others[] = {LIBRARY_TWO, LIBRARY_BARE_TWO};
    static const char *const names[] = {"test.goes", "test.goes.bare"};
    struct library library = library_open(kinds[_i]);
    soon_fn *decode = library.decode;
    char path[4096], name[128];

    assert_ok(soon_register(names[_i], decode));
    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, decode);
    ck_assert_int_eq(function.kind, SOON__FUNCTION_NAMED);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)decode);

    /* What comes in its place does not inherit the name. */
    library_close(&library);
    ck_assert_ptr_null((void *)soon__function_find(&function));
    library = open_in_place(library_path(others[_i], path), decode);
    ck_assert_str_eq(soon__function_name(decode, name, sizeof name), "decode");
    assert_unknown(found, SPAWNED, decode, "after soon_init()");
    ck_assert_ptr_null((void *)soon__function_find(&function));
    struct soon__found *now = found_now();
    ck_assert_int_eq(describe(now, SPAWNED, decode).kind, SOON__FUNCTION_IN_OBJECT);
    soon__functions_free(now);

    /* The name may be given again, and then is taken. */
    assert_ok(soon_register(names[_i], library.quiet));
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)library.quiet);
    ck_assert_int_eq(soon_register(names[_i], decode), -EEXIST);
    ck_assert_str_eq(soon__function_name(library.quiet, name, sizeof name), names[_i]);

    /* The first one does not come back to it. */
    library_close(&library);
    library = open_in_place(library_path(kinds[_i], path), decode);
    ck_assert_int_eq(describe(found, SPAWNED, decode).kind, SOON__FUNCTION_IN_OBJECT);
    ck_assert_ptr_null((void *)soon__function_find(&function));
    library_close(&library);
    soon__functions_free(found);
}
END_TEST

/* The only one of its name, wherever it is now. */
static void register_anew(const char *name, soon_fn *fn)
{
    struct soon__function named = {.kind = SOON__FUNCTION_NAMED};

    memcpy(named.id, name, strlen(name));
    ck_assert_ptr_null((void *)soon__function_find(&named));
    assert_ok(soon_register(name, fn));
    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, fn);
    ck_assert_mem_eq(&function, &named, sizeof function);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)fn);
    soon__functions_free(found);
}

START_TEST(a_plug_in_may_register_each_time_it_is_loaded)
{
    static const char *const names[] = {"test.plug-in", "test.plug-in.bare"};

    for (int round = 0; round < 8; round++) {
        struct library library = library_open(kinds[_i]);
        register_anew(names[_i], library.decode);
        soon_fn *before = library.decode;
        library_close(&library);

        void *page = block_page(before);
        library = library_open(kinds[_i]);
        ck_assert_ptr_ne((void *)library.decode, (void *)before);
        register_anew(names[_i], library.decode);
        library_close(&library);
        unblock_page(page);
    }
}
END_TEST

/* ---- two of one name ---- */

START_TEST(of_two_libraries_with_one_name_neither_is_known_to_the_spawned)
{
    struct folder folder = folder_make("twin.so");

    install(LIBRARY_BARE_ONE, folder.first);
    install(LIBRARY_BARE_TWO, folder.second);
    struct library first = library_open_file(folder.first);
    struct soon__found *one = found_now();
    struct soon__function function = describe(one, SPAWNED, first.decode);
    struct library second = library_open_file(folder.second);
    struct soon__found *both = found_now();

    assert_unknown(both, SPAWNED, first.decode, "'decode' of twin.so|soon_register()");
    assert_unknown(both, SPAWNED, second.quiet, "of twin.so|soon_register()");
    EXPECT(can_describe(both, FORKED, first.decode));
    EXPECT(can_describe(both, FORKED, second.decode));

    /* The second one must not pass for the first. */
    EXPECT(can_describe(one, SPAWNED, first.decode));
    assert_unknown(one, SPAWNED, second.decode, "'decode' of twin.so|after soon_init()");
    ck_assert_ptr_null((void *)soon__function_find(&function));

    assert_ok(soon_register("test.second", second.decode));
    struct soon__found *named = found_now();
    function = describe(named, SPAWNED, second.decode);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)second.decode);
    assert_unknown(named, SPAWNED, first.decode, "soon_register()");

    soon__functions_free(one);
    soon__functions_free(both);
    soon__functions_free(named);
    library_close(&first);
    library_close(&second);
    folder_free(&folder);
}
END_TEST

START_TEST(two_copies_with_one_build_id_are_the_same)
{
    struct folder folder = folder_make("copy.so");

    install(LIBRARY_ONE, folder.first);
    install(LIBRARY_ONE, folder.second);
    struct library first = library_open_file(folder.first);
    struct soon__found *found = found_now();
    struct library second = library_open_file(folder.second);
    struct soon__function function = describe(found, SPAWNED, second.decode);
    soon_fn *fn = soon__function_find(&function);
    EXPECT(fn == first.decode || fn == second.decode);
    assert_unknown(found, FORKED, second.decode, "after the pool was made");
    soon__functions_free(found);
    library_close(&first);
    library_close(&second);
    folder_free(&folder);
}
END_TEST

void add_loading_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "loading");

    tcase_add_loop_test(tc, a_library_that_was_there_is_known, 0, KINDS);
    tcase_add_loop_test(tc, a_library_that_was_loaded_later_is_not, 0, KINDS);
    tcase_add_loop_test(tc, a_library_that_was_unloaded_is_unknown, 0, KINDS);
    tcase_add_loop_test(tc, a_library_that_took_the_place_of_another_is_unknown, 0, KINDS);
    tcase_add_loop_test(tc, a_library_that_was_rebuilt_is_unknown, 0, KINDS);
    tcase_add_loop_test(tc, a_library_stays_known_while_others_come_and_go, 0, KINDS);
    tcase_add_loop_test(tc, a_library_that_moved_is_known_to_the_spawned_only, 0, KINDS);
    tcase_add_loop_test(tc, a_worker_does_not_find_what_took_the_place_of_another, 0, KINDS);
    tcase_add_loop_test(tc, a_name_goes_with_its_library, 0, KINDS);
    tcase_add_loop_test(tc, a_plug_in_may_register_each_time_it_is_loaded, 0, KINDS);
    tcase_add_test(tc, of_two_libraries_with_one_name_neither_is_known_to_the_spawned);
    tcase_add_test(tc, two_copies_with_one_build_id_are_the_same);
}
