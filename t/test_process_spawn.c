/* SPDX-License-Identifier: MIT */
/*
 * Spawned workers: how they find functions, what a program has to do for them,
 * and what becomes of one that does not.
 */
#include "process_pool.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

static soon_executor *spawning(void)
{
    return pool_up(SOON_START_SPAWN, &(soon_process_pool_options){.max_workers = 1});
}

/* ---- functions ---- */

static int task_registered(soon_call *call, const void *arg, size_t arg_len)
{
    return task_square(call, arg, arg_len);
}

/* In every run of the program, before main(). */
__attribute__((constructor)) static void register_it(void)
{
    REQUIRE(soon_register("test: a registered name", task_registered) == 0);
}

START_TEST(a_registered_function_is_found)
{
    soon_executor *ex = spawning();
    soon_future *f = submit_int(ex, task_registered, 12);

    assert_result_int(f, 144);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

static int task_where(soon_call *call, const void *arg, size_t arg_len)
{
    const uintptr_t here = (uintptr_t)task_registered;
    uintptr_t there;

    REQUIRE(arg_len == sizeof there);
    memcpy(&there, arg, sizeof there);
    return soon_return(call, &(char){here == there}, 1);
}

/* Debuggers and sanitizers may have switched it off. */
static bool addresses_are_random(void)
{
    FILE *file = fopen("/proc/sys/kernel/randomize_va_space", "re");
    int level = 0;

    if (file && fscanf(file, "%d", &level) != 1)
        level = 0;
    if (file)
        fclose(file);
    return level > 0 && !(personality(0xffffffff) & ADDR_NO_RANDOMIZE);
}

/* The worker is another run, with addresses of its own. Each run has one chance
 * in millions to get the same ones by luck. */
START_TEST(addresses_do_not_travel)
{
    const uintptr_t here = (uintptr_t)task_registered;
    soon_executor *ex = spawning();
    soon_future *f = submit(ex, task_where, &here, sizeof here);
    char same = 1;

    assert_ok(soon_future_result(f, SOON_FOREVER, &same, 1));
    ck_assert_int_eq(same, !addresses_are_random());
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* A function that no worker can have: code of no object. */
static soon_fn *function_from_nowhere(void)
{
    void *code = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(code != MAP_FAILED);
    return (soon_fn *)(uintptr_t)code;
}

static void assert_not_found(soon_executor *ex, soon_fn *fn, const char *name)
{
    soon_future *untouched = (soon_future *)ex, *f[2] = {untouched, untouched};
    const soon_task tasks[2] = {{.fn = task_nothing}, {.fn = fn}};
    int item = 1;

    ck_assert_int_eq(soon_submit(ex, fn, NULL, 0, f), -ENOENT);
    ck_assert_msg(strstr(soon_last_error(), name), "no %s in \"%s\"", name, soon_last_error());
    ck_assert_int_eq(soon_submit_task(ex, &tasks[1], f), -ENOENT);
    ck_assert_int_eq(soon_submit_many(ex, tasks, 2, f), -ENOENT);
    ck_assert_int_eq(soon_map(ex, fn, &item, sizeof item, 1, NULL, 0, NULL), -ENOENT);
    ck_assert_msg(strstr(soon_last_error(), name), "no %s in \"%s\"", name, soon_last_error());
    ck_assert_ptr_eq(f[0], untouched);
    ck_assert_ptr_eq(f[1], untouched);
    ck_assert_uint_eq(pool_figures(ex).pending, 0);
}

START_TEST(a_function_of_no_object_is_refused_at_submit)
{
    soon_executor *ex = spawning();
    soon_fn *fn = function_from_nowhere();
    soon_future *f;
    char name[32];

    snprintf(name, sizeof name, "%" PRIxPTR, (uintptr_t)fn);
    assert_not_found(ex, fn, name);
    f = submit_int(ex, task_square, 3);
    assert_result_int(f, 9);
    soon_future_unref(f);
    pool_down(ex, 1);
    REQUIRE(munmap((void *)(uintptr_t)fn, 4096) == 0);
}
END_TEST

START_TEST(an_initializer_of_no_object_is_refused_with_its_pool)
{
    soon_fn *fn = function_from_nowhere();
    const soon_process_pool_options options[] = {
        {.max_workers = 1, .start_method = SOON_START_SPAWN, .initializer = fn},
        {.max_workers = 1, .start_method = SOON_START_SPAWN, .finalizer = fn}};

    for (int i = 0; i < 2; i++) {
        soon_executor *ex = NULL;

        ck_assert_int_eq(soon_process_pool_new(&options[i], &ex), -ENOENT);
        ck_assert_ptr_null(ex);
        ck_assert_str_ne(soon_last_error(), "");
    }
    REQUIRE(munmap((void *)(uintptr_t)fn, 4096) == 0);
}
END_TEST

/* A library that comes with libc and that nobody uses. */
START_TEST(a_function_of_a_library_that_came_too_late_is_refused_with_its_name)
{
    static const int methods[] = {SOON_START_SPAWN, SOON_START_FORKSERVER};
    soon_executor *ex = pool_up(methods[_i], &(soon_process_pool_options){.max_workers = 1});
    void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
    soon_fn *fn = NULL;
    void *symbol;

    ck_assert_msg(library != NULL, "%s", dlerror());
    symbol = dlsym(library, "__ctype_get_mb_cur_max");
    REQUIRE(symbol);
    memcpy(&fn, &symbol, sizeof fn);
    assert_not_found(ex, fn, "__ctype_get_mb_cur_max");
    assert_not_found(ex, fn, "libBrokenLocale");
    pool_down(ex, 0);
    REQUIRE(dlclose(library) == 0);
}
END_TEST

/* ---- what a spawned worker has of the program ---- */

struct surroundings {
    char directory[200], variable[40];
};

static int task_look_around(soon_call *call, const void *arg, size_t arg_len)
{
    struct surroundings seen;
    const char *variable = getenv("SOON_TEST_VARIABLE");

    (void)arg;
    (void)arg_len;
    memset(&seen, 0, sizeof seen);
    REQUIRE(getcwd(seen.directory, sizeof seen.directory));
    snprintf(seen.variable, sizeof seen.variable, "%s", variable ? variable : "none");
    return soon_return(call, &seen, sizeof seen);
}

/* The directory is the one that the program is in when a worker starts; the
 * environment is that of the moment when the pool was made. */
START_TEST(it_has_the_directory_and_environment_of_the_program)
{
    char before[PATH_MAX];
    const struct surroundings *seen;
    const void *value;
    soon_executor *ex;
    soon_future *f;
    size_t len;

    REQUIRE(getcwd(before, sizeof before));
    REQUIRE(setenv("SOON_TEST_VARIABLE", "worth", 1) == 0);
    ex = spawning();
    REQUIRE(unsetenv("SOON_TEST_VARIABLE") == 0);
    REQUIRE(chdir("/usr") == 0);
    f = submit(ex, task_look_around, NULL, 0);
    assert_ok(soon_future_value(f, SOON_FOREVER, &value, &len));
    ck_assert_uint_eq(len, sizeof *seen);
    seen = value;
    ck_assert_str_eq(seen->directory, "/usr");
    ck_assert_str_eq(seen->variable, "worth");
    soon_future_unref(f);
    pool_down(ex, 1);
    REQUIRE(chdir(before) == 0);
}
END_TEST

START_TEST(soon_init_wants_an_argv)
{
    char name[] = "name", *argv[] = {name, NULL};

    ck_assert_int_eq(soon_init(1, NULL), -EINVAL);
    ck_assert_int_eq(soon_init(0, NULL), -EINVAL);
    assert_ok(soon_init(1, argv));
    assert_ok(soon_init(1, argv));
}
END_TEST

/* ---- programs that get it wrong ---- */

struct run {
    int status;
    char output[1000]; /* both streams */
    soon_ns took;
};

/* The program of that name beside this one. */
static const char *beside(const char *name)
{
    static char path[PATH_MAX + 32];
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);

    REQUIRE(len > 0);
    self[len] = '\0';
    snprintf(path, sizeof path, "%s/%s", dirname(self), name);
    return path;
}

/* Runs it with one argument, and a variable more in its environment. */
static struct run run_program(const char *path, const char *arg, const char *variable,
                              const char *value)
{
    const soon_ns begin = now_ns();
    struct run run = {0};
    size_t used = 0;
    ssize_t got;
    int fds[2];
    pid_t child;

    REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        REQUIRE(dup2(fds[1], STDOUT_FILENO) >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
        REQUIRE(unsetenv("SOON_TEST_SHARED") == 0);
        REQUIRE(!variable || setenv(variable, value, 1) == 0);
        execl(path, path, arg, (char *)NULL);
        perror(path);
        _exit(127);
    }
    close(fds[1]);
    while ((got = read(fds[0], run.output + used, sizeof run.output - 1 - used)) > 0)
        used += (size_t)got;
    close(fds[0]);
    REQUIRE(waitpid(child, &run.status, 0) == child);
    run.took = now_ns() - begin;
    return run;
}

static void assert_told(const struct run *run, int code, const char *words)
{
    char *rest = NULL;
    const long got = strtol(run->output, &rest, 10);

    ck_assert_msg(run->status == 0, "status %#x, \"%s\"", (unsigned)run->status, run->output);
    ck_assert_msg(got == code, "not %d: %s", code, run->output);
    ck_assert_msg(strstr(rest, words), "no %s in \"%s\"", words, run->output);
}

START_TEST(who_forgot_soon_init_is_told_at_once)
{
    static const char *const ways[] = {"never", "late"};

    for (int i = 0; i < 2; i++) {
        const struct run run = run_program(beside("forgetful"), ways[i], NULL, NULL);

        assert_told(&run, -EINVAL, "soon_init");
        ck_assert_int_lt(run.took, SOON_SECONDS(1) * (soon_ns)(1 + 4 * (scaled(100) < 100)));
    }
}
END_TEST

/* A spawned process that never turns into a worker: each one is a death, and
 * the pool breaks after as many as it puts up with. */
START_TEST(who_calls_it_too_late_in_main_gets_a_broken_pool_and_no_storm)
{
    struct run run = run_program(beside("forgetful"), "options", NULL, NULL);
    char code[16];

    snprintf(code, sizeof code, "%d ", -ENOTRECOVERABLE);
    ck_assert_msg(strstr(run.output, code), "%s", run.output);
    ck_assert_msg(strstr(run.output, "64"), "%s", run.output); /* what it exited with */
    ck_assert(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0);
    run = run_program(beside("forgetful"), "elsewhere", "FORGETFUL_ELSEWHERE", "1");
    ck_assert_msg(strstr(run.output, code), "%s", run.output);
    ck_assert(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0);
}
END_TEST

START_TEST(who_is_called_like_a_worker_and_is_none_says_so)
{
    static const char *const values[] = {"", "nonsense", "100,101,102,1", "3,4,5,6,7,8"};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const struct run run =
            run_program("/proc/self/exe", "--soon-worker", "SOON_SPAWNED", values[i]);

        ck_assert_msg(WIFEXITED(run.status) && WEXITSTATUS(run.status) != 0, "%s: %#x, \"%s\"",
                      values[i], (unsigned)run.status, run.output);
        ck_assert_msg(!strstr(run.output, "Checks:"), "%s: it ran the tests", values[i]);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_spawn");
    TCase *functions = test_case(suite, "functions");
    TCase *program = test_case(suite, "program");
    TCase *wrong = test_case(suite, "wrong");

    tcase_add_test(functions, a_registered_function_is_found);
    tcase_add_test(functions, addresses_do_not_travel);
    tcase_add_test(functions, a_function_of_no_object_is_refused_at_submit);
    tcase_add_test(functions, an_initializer_of_no_object_is_refused_with_its_pool);
    tcase_add_loop_test(functions,
                        a_function_of_a_library_that_came_too_late_is_refused_with_its_name, 0, 2);

    tcase_add_test(program, it_has_the_directory_and_environment_of_the_program);
    tcase_add_test(program, soon_init_wants_an_argv);

    tcase_add_test(wrong, who_forgot_soon_init_is_told_at_once);
    tcase_add_test(wrong, who_calls_it_too_late_in_main_gets_a_broken_pool_and_no_storm);
    tcase_add_test(wrong, who_is_called_like_a_worker_and_is_none_says_so);
    return suite;
}
