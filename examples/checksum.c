/* SPDX-License-Identifier: MIT */
/*
 * checksum: the SHA-256 of every regular file below some paths, in parallel.
 *
 *     checksum [-j WORKERS] PATH... >sums; sha256sum -c sums
 *
 * Shows a window of futures: the main thread walks the tree, submits one task a
 * file, at most WINDOW files ahead, and prints the oldest when it is done. So
 * the output is sorted, comes while it runs, and takes a bounded memory. The
 * wait's timeout moves the progress bar also during one huge file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <soon.h>

#include "checksum.h"

enum { WINDOW = 1024 };

struct job {
    soon_future *digest;
    char *path;
};

static atomic_ullong bytes_hashed; /* relaxed: a figure for people, it orders nothing */

/* Reads fd to its end. 0, or a negative errno. */
static int hash(soon_call *call, EVP_MD_CTX *sha, int fd)
{
    unsigned char buffer[1 << 16];
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        if (soon_call_cancelled(call))
            return -ECANCELED;
        if (!EVP_DigestUpdate(sha, buffer, (size_t)n))
            return -EIO;
        atomic_fetch_add_explicit(&bytes_hashed, (size_t)n, memory_order_relaxed);
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

/* Waiting and taking the result are two steps, for a task may itself fail with -ETIMEDOUT. */
static void print(const struct job *job)
{
    unsigned char digest[DIGEST_LEN];
    do {
        report_progress(atomic_load_explicit(&bytes_hashed, memory_order_relaxed));
    } while (soon_future_wait(job->digest, SOON_MS(100)) == -ETIMEDOUT);
    int err = soon_future_result(job->digest, 0, digest, sizeof digest);
    if (err == 0)
        report_digest(digest, job->path);
    else
        report_error(job->path, strerror(-err));
}

static void drop(struct job *job)
{
    soon_future_cancel(job->digest);
    soon_future_unref(job->digest);
    free(job->path);
}

/* Keeps the window full until the tree ends. A broken stdout ends it early. */
static void hash_tree(soon_executor *pool, FTS *tree)
{
    static struct job window[WINDOW];
    size_t oldest = 0, next = 0;
    const FTSENT *file = tree_next(tree, report_error);
    while ((file != NULL || oldest < next) && !ferror(stdout)) {
        if (file != NULL && next - oldest < WINDOW) {
            next += submit(pool, file->fts_path, &window[next % WINDOW]);
            file = tree_next(tree, report_error);
        } else {
            print(&window[oldest % WINDOW]);
            drop(&window[oldest++ % WINDOW]);
        }
    }
    while (oldest < next)
        drop(&window[oldest++ % WINDOW]);
}

int main(int argc, char **argv)
{
    soon_thread_pool_options options = {.name = "checksum"};
    bool usage = false;
    for (int opt; (opt = getopt(argc, argv, "j:")) != -1;) {
        char *end;
        options.max_workers = opt == 'j' ? (unsigned)strtoul(optarg, &end, 10) : 0;
        usage |= options.max_workers == 0 || *end != '\0';
    }
    if (usage || optind == argc) {
        fputs("usage: checksum [-j WORKERS] PATH...\n", stderr);
        return 2;
    }
    soon_executor *pool;
    int err = soon_thread_pool_new(&options, &pool);
    FTS *tree = err == 0 ? tree_open(argv + optind) : NULL;
    if (tree == NULL) {
        report_error("starting", strerror(err != 0 ? -err : errno));
        return 1;
    }
    if (isatty(STDERR_FILENO))
        report_begin(tree_size(argv + optind));
    hash_tree(pool, tree);
    fts_close(tree);
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return report_end(atomic_load(&bytes_hashed)) ? 0 : 1;
}
