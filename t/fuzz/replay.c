/* SPDX-License-Identifier: MIT */
/*
 * Plays the kept inputs, where there is no fuzzer: the files that are named, or
 * all of t/fuzz/corpus.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int cannot(const char *what)
{
    perror(what);
    return EXIT_FAILURE;
}

static int play(const char *path)
{
    static uint8_t room[MOST];
    FILE *file = fopen(path, "rb");

    if (!file)
        return cannot(path);
    size_t size = fread(room, 1, sizeof room, file);
    fclose(file);
    /* A block of its own, whose end a sanitizer watches. */
    uint8_t *data = malloc(size ? size : 1);
    if (!data)
        return cannot(path);
    memcpy(data, room, size);
    fprintf(stderr, "%s: %zu bytes\n", path, size);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return EXIT_SUCCESS;
}

static int play_all(const char *folder)
{
    struct dirent **entries;
    char path[4096 + sizeof(struct dirent)];
    int failed = EXIT_SUCCESS, played = 0;

    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0)
        return cannot(folder);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            failed |= play(path);
            played++;
        }
        free(entries[i]);
    }
    free(entries);
    printf("%s: %d inputs of %s\n", failed || !played ? "FAIL" : "PASS", played, folder);
    return played ? failed : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *top = getenv("top_srcdir");
    char folder[4096];
    int failed = EXIT_SUCCESS;

    for (int i = 1; i < argc; i++)
        failed |= play(argv[i]);
    if (argc > 1)
        return failed;
    snprintf(folder, sizeof folder, "%s/t/fuzz/corpus", top ? top : ".");
    return play_all(folder);
}
