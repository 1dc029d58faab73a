/* SPDX-License-Identifier: MIT */
/*
 * checksum: the SHA-256 of every regular file below some paths, in parallel.
 *
 *     checksum [-j WORKERS] [--processes] PATH... >sums; sha256sum -c sums
 *
 * Shows that one task does for both kinds of pool, threads and processes, and
 * how a window of futures works: the main thread walks the tree, submits
 * one task a file, at most WINDOW files ahead, and prints the oldest when it
 * is done. So the output is sorted, comes while it runs, and takes a bounded
 * memory. The wait's timeout moves the progress bar also during one huge file;
 * how far the tasks are they say with soon_call_progress().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <soon.h>

#include "checksum.h"
#include "pool.h"

enum { WINDOW = 1024 };

struct job {
    soon_future *digest;
    char *path;
};

struct window {
    struct job jobs[WINDOW];
    size_t oldest, next; /* counted from the first file, a job's place is the rest modulo WINDOW */
    uint64_t bytes;      /* in files that have left it */
};

/* Reads fd to its end. 0, or a negative errno. */
static int hash(soon_call *call, EVP_MD_CTX *sha, int fd)
{
    unsigned char buffer[1 << 16];
    uint64_t bytes = 0;
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        if (soon_call_cancelled(call))
            return -ECANCELED;
        if (!EVP_DigestUpdate(sha, buffer, (size_t)n))
            return -EIO;
        bytes += (size_t)n;
        soon_call_progress(call, bytes, 0);
    }
    return n == 0 ? 0 : -errno;
}

/* The task: arg is a path with its NUL, the result is the digest of that file. */
static int hash_file(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    unsigned char digest[EVP_MAX_MD_SIZE];
    int fd = open(arg, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    int err = sha != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) ? 0 : -ENOMEM;
    if (err == 0)
        err = hash(call, sha, fd);
    if (err == 0 && !EVP_DigestFinal_ex(sha, digest, NULL))
        err = -EIO;
    EVP_MD_CTX_free(sha);
    close(fd);
    return err != 0 ? err : soon_return(call, digest, DIGEST_LEN);
}

/* A file that can't be submitted is reported, and the others go on. */
static bool submit(soon_executor *pool, const char *path, struct job *job)
{
    job->path = strdup(path);
    int err = job->path != NULL ? 0 : -ENOMEM;
    if (err == 0)
        err = soon_submit(pool, hash_file, path, strlen(path) + 1, &job->digest);
    if (err != 0) {
        free(job->path);
        report_error(path, strerror(-err));
    }
    return err == 0;
}

static uint64_t bytes_hashed(const soon_future *digest)
{
    uint64_t bytes = 0;
    soon_future_progress(digest, &bytes, NULL);
    return bytes;
}

static void show_progress(const struct window *window)
{
    uint64_t bytes = window->bytes;
    for (size_t i = window->oldest; i < window->next; i++)
        bytes += bytes_hashed(window->jobs[i % WINDOW].digest);
    report_progress(bytes);
}

/* Waiting and taking the result are two steps, for a task may itself fail with -ETIMEDOUT. */
static void print_oldest(const struct window *window)
{
    const struct job *job = &window->jobs[window->oldest % WINDOW];
    unsigned char digest[DIGEST_LEN];
    do {
        if (report_due())
            show_progress(window);
    } while (soon_future_wait(job->digest, SOON_MS(100)) == -ETIMEDOUT);
    int err = soon_future_result(job->digest, 0, digest, sizeof digest);
    if (err == 0)
        report_digest(digest, job->path);
    else
        report_error(job->path, strerror(-err));
}

static void drop_oldest(struct window *window)
{
    struct job *job = &window->jobs[window->oldest++ % WINDOW];
    window->bytes += bytes_hashed(job->digest);
    soon_future_cancel(job->digest);
    soon_future_unref(job->digest);
    free(job->path);
}

/* Keeps the window full until the tree ends. A broken stdout ends it early. Returns the bytes. */
static uint64_t hash_tree(soon_executor *pool, FTS *tree)
{
    static struct window window;
    const FTSENT *file = tree_next(tree, report_error);
    while ((file != NULL || window.oldest < window.next) && !ferror(stdout)) {
        if (file != NULL && window.next - window.oldest < WINDOW) {
            window.next += submit(pool, file->fts_path, &window.jobs[window.next % WINDOW]);
            file = tree_next(tree, report_error);
        } else {
            print_oldest(&window);
            drop_oldest(&window);
        }
    }
    while (window.oldest < window.next)
        drop_oldest(&window);
    return window.bytes;
}

int main(int argc, char **argv)
{
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct pool_choice choice = {0};
    if (!pool_options(&choice, argc, argv, POOL_OPTIONS) || optind == argc) {
        fputs("usage: checksum " POOL_USAGE " PATH...\n", stderr);
        return 2;
    }
    soon_executor *pool;
    int err = pool_open(&choice, "checksum", &pool);
    FTS *tree = err == 0 ? tree_open(argv + optind) : NULL;
    if (tree == NULL) {
        report_error("starting", strerror(err != 0 ? -err : errno));
        return 1;
    }
    if (isatty(STDERR_FILENO))
        report_begin(tree_size(argv + optind));
    uint64_t bytes = hash_tree(pool, tree);
    fts_close(tree);
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return report_end(bytes) ? 0 : 1;
}
