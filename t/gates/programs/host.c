/* SPDX-License-Identifier: MIT */
/*
 * A program that has libsoon in it, and asks whose malloc it has.
 *
 *     host libc|jemalloc loaded|absent [LIBSOON]
 *
 * The first word says whose malloc and free the program must have, the second
 * whether libjemalloc may be in the process at all. With LIBSOON the library is
 * opened by that name in the middle of the run, else it was linked in. Every
 * allocation is watched from both sides: which object the name resolves to, and
 * whose books the bytes turn up in. Leaves with 0 only if all of it holds.
 */
#include <soon.h>

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 2000, BLOCK = 100000 };

/* The calls this program makes, so that they can come from dlsym() too. */
struct api {
    int (*pool_new)(const soon_thread_pool_options *, soon_executor **);
    int (*submit)(soon_executor *, soon_fn *, const void *, size_t, soon_future **);
    int (*result)(soon_future *, soon_ns, void *, size_t);
    void (*unref)(soon_future *);
    int (*shutdown)(soon_executor *, soon_ns, unsigned);
    void (*executor_unref)(soon_executor *);
    int (*set_result)(soon_call *, const void *, size_t);
};

static struct api soon;
static bool all_right = true;

static void check(bool holds, const char *what)
{
    printf("host: %s: %s\n", what, holds ? "right" : "WRONG");
    all_right = all_right && holds;
}

#ifdef HOST_LINKS_SOON
static bool find_api(const char *path)
{
    soon = (struct api){soon_thread_pool_new, soon_submit,   soon_future_result,
                        soon_future_unref,    soon_shutdown, soon_executor_unref,
                        soon_return};
    return !path;
}
#else
static bool find_function(void *library, const char *name, void *place)
{
    void *address = dlsym(library, name);

    memcpy(place, &address, sizeof address);
    return address;
}

static bool find_api(const char *path)
{
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;

    if (!library) {
        printf("host: dlopen: %s\n", path ? dlerror() : "no library was named");
        return false;
    }
    return find_function(library, "soon_thread_pool_new", &soon.pool_new) &&
           find_function(library, "soon_submit", &soon.submit) &&
           find_function(library, "soon_future_result", &soon.result) &&
           find_function(library, "soon_future_unref", &soon.unref) &&
           find_function(library, "soon_shutdown", &soon.shutdown) &&
           find_function(library, "soon_executor_unref", &soon.executor_unref) &&
           find_function(library, "soon_return", &soon.set_result);
}
#endif

/* The family must come from one object: a free() of another malloc() kills. */
static void check_names(const char *owner)
{
    static const char *const family[] = {"malloc",         "calloc",        "realloc", "free",
                                         "posix_memalign", "aligned_alloc", "memalign"};

    for (size_t i = 0; i < sizeof family / sizeof family[0]; i++) {
        Dl_info info = {0};
        void *address = dlsym(RTLD_DEFAULT, family[i]);

        if (!address || !dladdr(address, &info))
            info.dli_fname = "nowhere";
        printf("host: %s is in %s\n", family[i], info.dli_fname);
        check(strstr(info.dli_fname, owner), family[i]);
    }
}

/* Bytes that jemalloc has given to this thread; 0 without it. */
static uint64_t jemalloc_bytes(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    void *address = dlsym(RTLD_DEFAULT, "mallctl");
    uint64_t bytes = 0;
    size_t size = sizeof bytes;

    memcpy(&mallctl, &address, sizeof address);
    if (address)
        mallctl("thread.allocated", &bytes, &size, NULL, 0);
    return bytes;
}

static void check_books(bool jemalloc)
{
    size_t libc_before = mallinfo2().uordblks;
    uint64_t jemalloc_before = jemalloc_bytes();
    char *volatile block = malloc(BLOCK);
    size_t libc_grew = mallinfo2().uordblks - libc_before;
    uint64_t jemalloc_grew = jemalloc_bytes() - jemalloc_before;

    printf("host: of %d bytes libc gave %zu, jemalloc %llu\n", BLOCK, libc_grew,
           (unsigned long long)jemalloc_grew);
    check(jemalloc ? jemalloc_grew >= BLOCK && libc_grew == 0
                   : libc_grew >= BLOCK && jemalloc_grew == 0,
          "malloc takes from where it should");
    free(block);
}

static int note_jemalloc(struct dl_phdr_info *info, size_t size, void *found)
{
    (void)size;
    if (strstr(info->dlpi_name, "jemalloc"))
        *(bool *)found = true;
    return 0;
}

/* Allocates in the worker what the main thread frees. */
static int make_string(soon_call *call, const void *arg, size_t arg_len)
{
    int n;
    char *text = NULL;

    memcpy(&n, arg, arg_len == sizeof n ? sizeof n : 0);
    if (asprintf(&text, "%0*d", 1 + n % 500, n) < 0)
        return 1;
    return soon.set_result(call, &text, sizeof text);
}

static bool run_tasks(void)
{
    static soon_future *futures[TASKS];
    soon_executor *pool;
    bool ok = soon.pool_new(&(soon_thread_pool_options){.max_workers = 2}, &pool) == 0;

    for (int i = 0; ok && i < TASKS; i++)
        ok = soon.submit(pool, make_string, &i, sizeof i, &futures[i]) == 0;
    for (int i = 0; ok && i < TASKS; i++) {
        char *text = NULL;

        ok = soon.result(futures[i], SOON_FOREVER, &text, sizeof text) == 0 && atoi(text) == i;
        text = ok ? realloc(text, 1000) : text;
        free(text);
        soon.unref(futures[i]);
    }
    if (ok) {
        ok = soon.shutdown(pool, SOON_FOREVER, 0) == 0;
        soon.executor_unref(pool);
    }
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;

    bool jemalloc = !strcmp(argv[1], "jemalloc");
    bool may_be_loaded = !strcmp(argv[2], "loaded");
    const char *owner = jemalloc ? "libjemalloc.so" : "libc.so";
    bool is_loaded = false;
    char *early = strdup("allocated before the library was opened");

    if (!find_api(argv[3])) {
        free(early);
        return 3;
    }
    free(early);
    dl_iterate_phdr(note_jemalloc, &is_loaded);
    check(is_loaded == may_be_loaded,
          may_be_loaded ? "libjemalloc is in the process" : "libjemalloc is not in the process");
    check_names(owner);
    check_books(jemalloc);
    check(run_tasks(), "tasks run, and what they allocate is freed elsewhere");
    check_names(owner);
    check_books(jemalloc);
    return all_right ? 0 : 1;
}
