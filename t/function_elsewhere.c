/* SPDX-License-Identifier: MIT */
/*
 * Functions found by another run of this program; and described while other
 * threads load libraries, or in a process that was forked while they did.
 */
#include "function_cases.h"

#include <dlfcn.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- another run of this program ---- */

static int far(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    (void)arg;
    (void)arg_len;
    return 9;
}

/* One function that another process is to find. */
struct errand {
    struct soon__function function;
    uint8_t call; /* what it finds, it may call */
};

/* What it found. */
struct finding {
    uint64_t address;
    int32_t result; /* of the call */
    char name[116];
};

static unsigned char hex_digit(char c)
{
    return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void run_errand(const char *hex)
{
    struct finding finding = {0};
    struct errand errand;
    unsigned char *bytes = (unsigned char *)&errand;

    REQUIRE(strlen(hex) == 2 * sizeof errand);
    for (size_t i = 0; i < sizeof errand; i++)
        bytes[i] = (unsigned char)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    soon_fn *fn = soon__function_find(&errand.function);
    finding.address = (uintptr_t)fn;
    if (fn)
        soon__function_name(fn, finding.name, sizeof finding.name);
    if (fn && errand.call)
        finding.result = fn(NULL, NULL, 0);
    REQUIRE(write(STDOUT_FILENO, &finding, sizeof finding) == sizeof finding);
}

/* Before main(), as a program registers its functions. Libraries are loaded in
 * another order than the test did, and after something else. */
__attribute__((constructor)) static void be_elsewhere(void)
{
    char *libraries = getenv("SOON_T_LIBRARIES"), *errands = getenv("SOON_T_ERRANDS"), *word;

    if (!libraries || !errands)
        return;
    REQUIRE(mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)0) !=
            MAP_FAILED);
    while ((word = strsep(&libraries, ":")))
        REQUIRE(*word == '\0' || dlopen(word, RTLD_NOW | RTLD_LOCAL));
    REQUIRE(soon_register("test.far", far) == 0);
    while ((word = strsep(&errands, ":")))
        run_errand(word);
    _exit(0);
}

static void write_hex(FILE *file, const struct errand *errand)
{
    const unsigned char *bytes = (const unsigned char *)errand;

    for (size_t i = 0; i < sizeof *errand; i++)
        fprintf(file, "%02x", bytes[i]);
}

/* This process's environment with two more in front. */
static char **environment_new(char *first, char *second)
{
    size_t n = 0;
    char **all;

    while (environ[n])
        n++;
    REQUIRE((all = calloc(n + 3, sizeof *all)) != NULL);
    memcpy(all + 2, environ, n * sizeof *all);
    all[0] = first;
    all[1] = second;
    return all;
}

static void read_findings(int fd, struct finding *findings, size_t n)
{
    char *at = (char *)findings;
    size_t left = n * sizeof *findings;

    while (left) {
        ssize_t got = read(fd, at, left);
        REQUIRE(got > 0);
        at += got;
        left -= (size_t)got;
    }
}

static void send_errands(const struct errand *errands, struct finding *findings, size_t n)
{
    char *variables[2], one[4096], two[4096], program[4096] = "", *argv[] = {program, NULL};
    size_t size;
    FILE *text = open_memstream(&variables[0], &size);
    posix_spawn_file_actions_t actions;
    int out[2], status;
    pid_t pid;

    REQUIRE(text);
    fprintf(text, "SOON_T_LIBRARIES=%s:%s", library_path(LIBRARY_BARE_ONE, one),
            library_path(LIBRARY_ONE, two));
    REQUIRE(fclose(text) == 0 && (text = open_memstream(&variables[1], &size)) != NULL);
    fprintf(text, "SOON_T_ERRANDS=");
    for (size_t i = 0; i < n; i++) {
        fprintf(text, i ? ":" : "");
        write_hex(text, &errands[i]);
    }
    REQUIRE(fclose(text) == 0);

    char **environment = environment_new(variables[0], variables[1]);
    REQUIRE(pipe(out) == 0 && posix_spawn_file_actions_init(&actions) == 0 &&
            posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) == 0);
    REQUIRE(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    REQUIRE(posix_spawn(&pid, program, &actions, NULL, argv, environment) == 0);
    REQUIRE(close(out[1]) == 0);
    read_findings(out[0], findings, n);
    REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
    REQUIRE(close(out[0]) == 0 && posix_spawn_file_actions_destroy(&actions) == 0);
    free(environment);
    free(variables[0]);
    free(variables[1]);
}

/* Are programs put at other addresses each time? */
static bool addresses_are_random(void)
{
#if defined __pie__
    FILE *file = fopen("/proc/sys/kernel/randomize_va_space", "re");
    int setting = 0;

    REQUIRE(file && fscanf(file, "%d", &setting) == 1 && fclose(file) == 0);
    return setting && !(personality(0xFFFFFFFF) & ADDR_NO_RANDOMIZE) && !memory_is_watched();
#else
    return false;
#endif
}

START_TEST(another_run_of_the_program_finds_them)
{
    struct library library = library_open(LIBRARY_ONE), bare = library_open(LIBRARY_BARE_ONE);
    soon_fn *fns[7] = {far, own_function(), library.decode, library.quiet, bare.decode, bare.quiet};
    enum { N = sizeof fns / sizeof fns[0], OWN = 1, DECODE = 2, ALIEN = N - 1 };
    struct errand errands[N + 1] = {0};
    struct finding findings[N + 1];
    bool moved = false;
    char name[128];

    fns[ALIEN] = (soon_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, "lsearch");
    assert_ok(soon_register("test.far", far));
    struct soon__found *found = found_now();
    for (size_t i = 0; i < N; i++)
        errands[i] = (struct errand){describe(found, SPAWNED, fns[i]), i != ALIEN};
    errands[N].function = errands[OWN].function; /* which nobody has */
    errands[N].function.id[9] ^= 1;

    for (int run = 0; run < 4; run++) {
        send_errands(errands, findings, N + 1);
        for (size_t i = 0; i < N; i++) {
            ck_assert_uint_ne(findings[i].address, 0);
            ck_assert_str_eq(findings[i].name, soon__function_name(fns[i], name, sizeof name));
            if (i != ALIEN)
                ck_assert_int_eq(findings[i].result, fns[i](NULL, NULL, 0));
        }
        ck_assert_uint_eq(findings[N].address, 0);
        ck_assert_uint_ne(findings[DECODE].address, (uintptr_t)library.decode);
        moved |= findings[OWN].address != (uintptr_t)own_function();
    }
    if (addresses_are_random())
        EXPECT(moved);
    soon__functions_free(found);
    library_close(&library);
    library_close(&bare);
}
END_TEST

/* ---- other threads ---- */

struct crowd {
    struct soon__found *found;
    soon_fn *fns[5];
    _Atomic bool over;
};

static void describe_all(struct crowd *crowd)
{
    for (size_t i = 0; i < sizeof crowd->fns / sizeof crowd->fns[0]; i++) {
        struct soon__function function;
        char message[300], name[100];
        soon_fn *fn = crowd->fns[i];

        REQUIRE(soon__function_describe(crowd->found, FORKED, fn, &function, message,
                                        sizeof message) == 0);
        REQUIRE(function.kind == SOON__FUNCTION_ADDRESS && function.offset == (uintptr_t)fn);
        REQUIRE(soon__function_describe(crowd->found, SPAWNED, fn, &function, message,
                                        sizeof message) == 0);
        REQUIRE(function.kind == SOON__FUNCTION_IN_OBJECT);
        REQUIRE(*soon__function_name(fn, name, sizeof name) != '\0');
    }
}

static void describe_often(void *data)
{
    for (size_t i = 0; i < scaled(2000); i++)
        describe_all(data);
}

static void load_and_unload(void *data)
{
    struct crowd *crowd = data;

    while (!atomic_load(&crowd->over)) {
        struct library passing = library_open(LIBRARY_TWO);
        REQUIRE(!can_describe(crowd->found, FORKED, passing.decode));
        REQUIRE(!can_describe(crowd->found, SPAWNED, passing.quiet));
        library_close(&passing);
    }
}

static void find_now_often(void *data)
{
    struct crowd *crowd = data;

    while (!atomic_load(&crowd->over)) {
        struct soon__found *found = found_now();
        REQUIRE(can_describe(found, FORKED, crowd->fns[1]));
        REQUIRE(can_describe(found, SPAWNED, crowd->fns[4]));
        soon__functions_free(found);
    }
}

START_TEST(many_threads_describe_while_libraries_come_and_go)
{
    enum { DESCRIBERS = 8 };
    struct library library = library_open(LIBRARY_ONE), bare = library_open(LIBRARY_BARE_ONE);
    static struct crowd crowd;
    struct thread describers[DESCRIBERS], loader, finder;

    crowd = (struct crowd){
        .fns = {own_function(), library.decode, library.quiet, bare.decode, bare.quiet}};
    crowd.found = found_now();
    thread_start(&loader, load_and_unload, &crowd);
    thread_start(&finder, find_now_often, &crowd);
    for (size_t i = 0; i < DESCRIBERS; i++)
        thread_start(&describers[i], describe_often, &crowd);
    for (size_t i = 0; i < DESCRIBERS; i++)
        thread_join(&describers[i]);
    atomic_store(&crowd.over, true);
    thread_join(&loader);
    thread_join(&finder);
    soon__functions_free(crowd.found);
    library_close(&library);
    library_close(&bare);
}
END_TEST

/* ---- locks of the loader ---- */

struct pause {
    struct bell begun;
    struct gate end;
};

static int pause_inside(struct dl_phdr_info *info, size_t size, void *data)
{
    struct pause *pause_ = data;

    (void)info;
    (void)size;
    bell_ring(pause_->begun);
    gate_pass(pause_->end);
    return 1;
}

static void hold_list(void *data)
{
    dl_iterate_phdr(pause_inside, data);
}

/* What takes the lock of the list of objects in this child never returns. */
static void describe_in_child(struct soon__found *found, soon_fn *const *fns, size_t n)
{
    pid_t pid = fork();
    int status;

    REQUIRE(pid >= 0);
    if (pid == 0) {
        alarm(20);
        for (size_t i = 0; i < n; i++)
            if (!can_describe(found, FORKED, fns[i]) || !can_describe(found, SPAWNED, fns[i]))
                _exit(1);
        soon__functions_free(found);
        _exit(0);
    }
    REQUIRE(waitpid(pid, &status, 0) == pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(a_child_of_a_fork_needs_no_lock_of_the_loader)
{
    struct library library = library_open(LIBRARY_ONE);
    struct soon__found *found = found_now();
    struct pause pause_ = {bell_make(), gate_make()};
    soon_fn *fns[4] = {own_function(), library.decode, library.quiet};
    struct thread thread;

    fns[3] = (soon_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, "lsearch");
    thread_start(&thread, hold_list, &pause_);
    bell_await(pause_.begun, 1);
    describe_in_child(found, fns, 4);
    gate_open(pause_.end);
    thread_join(&thread);
    bell_free(pause_.begun);
    gate_free(pause_.end);
    soon__functions_free(found);
    library_close(&library);
}
END_TEST

static void load_slowly(void *data)
{
    struct library library = library_open(LIBRARY_TWO);

    (void)data;
    library_close(&library);
}

/* It may be waiting for a task whose failure is to be put into words. */
START_TEST(a_constructor_that_waits_stops_nobody)
{
    struct library library = library_open(LIBRARY_ONE);
    struct pause pause_ = {bell_make(), gate_make()};
    struct soon__found *before = found_now();
    struct thread thread;
    char fds[40], name[128];

    snprintf(fds, sizeof fds, "%d %d", pause_.begun.fd, pause_.end.fd);
    REQUIRE(setenv("SOON_T_DAWDLE", fds, 1) == 0);
    thread_start(&thread, load_slowly, NULL);
    bell_await(pause_.begun, 1);
    ck_assert_str_eq(soon__function_name(library.decode, name, sizeof name), "decode");
    soon__function_name(library.quiet, name, sizeof name);
    struct soon__found *found = found_now();
    struct soon__function function = describe(found, SPAWNED, library.quiet);
    ck_assert_ptr_eq((void *)soon__function_find(&function), (void *)library.quiet);
    EXPECT(can_describe(before, FORKED, library.decode));
    gate_open(pause_.end);
    thread_join(&thread);
    REQUIRE(unsetenv("SOON_T_DAWDLE") == 0);
    soon__functions_free(before);
    soon__functions_free(found);
    bell_free(pause_.begun);
    gate_free(pause_.end);
    library_close(&library);
}
END_TEST

void add_elsewhere_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "elsewhere");

    tcase_add_test(tc, another_run_of_the_program_finds_them);
    tcase_add_test(tc, many_threads_describe_while_libraries_come_and_go);
#ifdef DLFO_STRUCT_HAS_EH_DBASE /* a C library without _dl_find_object() has no such way */
    tcase_add_test(tc, a_child_of_a_fork_needs_no_lock_of_the_loader);
#endif
    tcase_add_test(tc, a_constructor_that_waits_stops_nobody);
}
