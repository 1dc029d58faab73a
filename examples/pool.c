/* SPDX-License-Identifier: MIT */
/* The choice of a pool on a command line. See pool.h. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { START = 256 }; /* not a character, as it is no short option */

const struct option pool_long_options[] = {
    {"processes", no_argument, NULL, 'p'},
    {"start", required_argument, NULL, START},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, unsigned *out)
{
    char *end;
    *out = (unsigned)strtoul(text, &end, 10);
    return *out > 0 && *end == '\0';
}

static bool method(const char *name, int *out)
{
    static const char *const names[] = {
        [SOON_START_FORKSERVER] = "forkserver",
        [SOON_START_FORK] = "fork",
        [SOON_START_SPAWN] = "spawn",
    };
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool pool_option(struct pool_choice *choice, int option)
{
    switch (option) {
    case 'j':
        return number(optarg, &choice->workers);
    case 'p':
        return choice->processes = true;
    case START:
        choice->processes = true;
        return method(optarg, &choice->start_method);
    default:
        return false;
    }
}

bool pool_options(struct pool_choice *choice, int argc, char **argv, const char *options)
{
    bool good = true;
    for (int option; (option = getopt_long(argc, argv, options, pool_long_options, NULL)) != -1;)
        good &= pool_option(choice, option);
    return good;
}

int pool_open(const struct pool_choice *choice, const char *name, soon_executor **out)
{
    soon_thread_pool_options threads = {.max_workers = choice->workers, .name = name};
    soon_process_pool_options processes = {
        .max_workers = choice->workers,
        .start_method = choice->start_method,
        .name = name,
    };
    return choice->processes ? soon_process_pool_new(&processes, out)
                             : soon_thread_pool_new(&threads, out);
}
