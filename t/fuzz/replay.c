/* SPDX-License-Identifier: MIT */
/*
 * Plays the kept inputs, where there is no fuzzer: the files that are named, one
 * after the other as the fuzzer would; or all of t/fuzz/corpus, each in a process
 * of its own, so that it is known which of them failed, and all are played.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MOST = 1 << 16, /* bytes of an input */
    LIMIT = 20,     /* seconds, of which a run takes some thousandths */
    PATH_ROOM = 4096 + sizeof(struct dirent)
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool cannot(const char *what)
{
    perror(what);
    return false;
}

static bool play(const char *path)
{
    static uint8_t room[MOST];
    FILE *file = fopen(path, "rb");

    if (!file)
        return cannot(path);
    size_t size = fread(room, 1, sizeof room, file);
    bool failed = ferror(file);
    fclose(file);
    /* A block of its own, whose end a sanitizer watches. */
    uint8_t *data = failed ? NULL : malloc(size ? size : 1);
    if (!data)
        return cannot(path);
    memcpy(data, room, size);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return true;
}

/* What hangs is ended by SIGALRM. The way out is exit(), where a sanitizer looks
 * for leaks. */
static bool play_apart(const char *path)
{
    int status;
    pid_t child = fork();

    if (child < 0)
        return cannot("fork");
    if (child == 0) {
        alarm(LIMIT);
        exit(play(path) ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    if (waitpid(child, &status, 0) != child)
        return cannot("waitpid");
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: ended by signal %d, %s\n", path, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status))
        fprintf(stderr, "%s: left with status %d\n", path, WEXITSTATUS(status));
    return status == 0;
}

static int play_all(const char *folder)
{
    struct dirent **entries;
    char path[PATH_ROOM];
    int failed = 0, played = 0;

    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0) {
        cannot(folder);
        return EXIT_FAILURE;
    }
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            failed += !play_apart(path);
            played++;
        }
        free(entries[i]);
    }
    free(entries);
    printf("channel: %d inputs of %s, %d of them failed\n", played, folder, failed);
    return played && !failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *top = getenv("top_srcdir");
    char folder[4096];
    bool good = true;

    setvbuf(stdout, NULL, _IOLBF, 0); /* so that no child has any of it in its buffer */
    for (int i = 1; i < argc; i++)
        good &= play(argv[i]);
    if (argc > 1)
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
    snprintf(folder, sizeof folder, "%s/t/fuzz/corpus", top ? top : ".");
    return play_all(folder);
}
