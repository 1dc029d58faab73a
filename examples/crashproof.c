/* SPDX-License-Identifier: MIT */
/*
 * crashproof: unpacks every gzip file of a folder with a decoder that crashes.
 *
 *     crashproof [-j WORKERS] [-t SECONDS] [-m MEGABYTES] [--start=forkserver|fork|spawn] FOLDER
 *
 * The decoder, in crashproof_gunzip.c, trusts its input: some files make it
 * crash, hang or take all the memory. It runs in worker processes, so such a
 * file costs itself and nothing else. Each task carries its file's name and a
 * time limit, each worker has a memory limit. Of a good file is printed the
 * CRC and the length of what was in it, of a bad one why it is bad: the signal
 * that its worker died of, or the decoder's own complaint.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <soon.h>

#include "crashproof.h"
#include "pool.h"

struct decoded { /* a result */
    uint32_t crc, len;
};

struct tally {
    unsigned decoded, damaged, crashed, timed_out;
};

/* The initializer: crashes are what is expected here, and nobody wants to debug them. */
static int no_core_files(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    return setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0 ? 0 : -errno;
}

/* Reads a whole file into *bytes, which is to be freed. Its length, or a negative errno. */
static ssize_t read_file(const char *name, unsigned char **bytes)
{
    struct stat st;
    size_t len = 0;
    ssize_t n = -1;
    *bytes = NULL;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0 && (*bytes = malloc((size_t)st.st_size + 1)) != NULL) {
        while ((n = read(fd, *bytes + len, (size_t)st.st_size + 1 - len)) > 0)
            len += (size_t)n;
    }
    int err = n == 0 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    return err != 0 ? err : (ssize_t)len;
}

/* The task: arg is the name of a file, with its NUL. */
static int decode(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    unsigned char *file;
    struct text text;
    const char *why;
    ssize_t len = read_file(arg, &file);
    int err = len < 0 ? (int)len : fragile_gunzip(file, (size_t)len, &text, &why);
    free(file);
    if (len < 0)
        return soon_fail(call, err, "%s", strerror(-err));
    if (err != 0)
        return soon_fail(call, err, "%s", why);
    free(text.bytes);
    return soon_return(call, &(struct decoded){text.crc, text.len}, sizeof(struct decoded));
}

/* One line for a file. */
static void print(const char *name, soon_future *f, struct tally *tally)
{
    struct decoded decoded;
    soon_error error;
    if (soon_future_result(f, SOON_FOREVER, &decoded, sizeof decoded) == 0) {
        tally->decoded++;
        printf("%08" PRIx32 " %10" PRIu32 "  %s\n", decoded.crc, decoded.len, name);
        return;
    }
    soon_future_error(f, 0, &error);
    tally->timed_out += error.code == -ETIME;
    tally->crashed += error.origin == SOON_FROM_WORKER;
    tally->damaged += error.origin == SOON_FROM_TASK;
    const char *signal = error.signal != 0 ? sigabbrev_np(error.signal) : NULL;
    if (signal != NULL)
        printf("%s: SIG%s: %s\n", name, signal, error.message);
    else
        printf("%s: %s: %s\n", name, error.origin == SOON_FROM_TASK ? "damaged" : "failed",
               error.message);
}

/* Submits all files, then prints them in their order. 0, or a negative errno. */
static int decode_all(soon_executor *pool, struct dirent **names, int n, soon_ns timeout,
                      struct tally *tally)
{
    int err = 0;
    soon_future **files = calloc((size_t)n + 1, sizeof(soon_future *));
    if (files == NULL)
        return -ENOMEM;
    for (int i = 0; i < n && err == 0; i++) {
        const char *name = names[i]->d_name;
        soon_task task = {decode, name, strlen(name) + 1, .name = name, .timeout = timeout};
        err = soon_submit_task(pool, &task, &files[i]);
    }
    for (int i = 0; i < n && err == 0; i++)
        print(names[i]->d_name, files[i], tally);
    for (int i = 0; i < n; i++)
        soon_future_unref(files[i]);
    free(files);
    return err;
}

static int no_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int run(soon_process_pool_options *options, soon_ns timeout)
{
    struct dirent **names;
    struct tally tally = {0};
    soon_stats stats = {0};
    soon_executor *pool;
    double begin = now();
    int n = scandir(".", &names, no_hidden, alphasort);
    if (n < 0)
        return -errno;
    options->max_restarts = (unsigned)n; /* every file may cost a worker */
    options->restart_window = SOON_SECONDS(3600);
    int err = soon_process_pool_new(options, &pool);
    if (err == 0) {
        err = decode_all(pool, names, n, timeout, &tally);
        soon_executor_stats(pool, &stats);
        soon_shutdown(pool, SOON_FOREVER, SOON_CANCEL_FUTURES);
        soon_executor_unref(pool);
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    if (err == 0)
        printf("%d files in %.2f s: %u decoded, %u damaged, %u crashed, %u timed out; "
               "it took %" PRIu64 " workers\n",
               n, now() - begin, tally.decoded, tally.damaged, tally.crashed, tally.timed_out,
               stats.workers_started);
    return err;
}

int main(int argc, char **argv)
{
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct pool_choice choice = {0};
    double seconds = 10, megabytes = 256;
    bool usage = false;
    for (int option; (option = getopt_long(argc, argv, "j:t:m:", pool_long_options, NULL)) != -1;) {
        if (option == 't')
            seconds = strtod(optarg, NULL);
        else if (option == 'm')
            megabytes = strtod(optarg, NULL);
        else
            usage |= !pool_option(&choice, option);
    }
    if (usage || !(seconds > 0 && seconds < 1e6 && megabytes >= 1 && megabytes < 1e6) ||
        optind != argc - 1) {
        fputs("usage: crashproof [-j WORKERS] [-t SECONDS] [-m MEGABYTES] "
              "[--start=forkserver|fork|spawn] FOLDER\n",
              stderr);
        return 2;
    }
    soon_process_pool_options options = {
        .max_workers = choice.workers,
        .start_method = choice.start_method,
        .name = "crashproof",
        .initializer = no_core_files,
        .max_worker_memory = (size_t)(megabytes * (1 << 20)),
    };
    /* Workers begin in the program's folder, so that names will do. */
    int err = chdir(argv[optind]) == 0 ? 0 : -errno;
    if (err == 0)
        err = run(&options, (soon_ns)(seconds * 1e9));
    if (err != 0)
        fprintf(stderr, "crashproof: %s: %s\n", argv[optind], strerror(-err));
    return err != 0 || fflush(stdout) != 0;
}
