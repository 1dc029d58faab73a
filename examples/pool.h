/* SPDX-License-Identifier: MIT */
/* The pool that an example runs on: of threads or of processes, as its user says. */
#ifndef EXAMPLES_POOL_H
#define EXAMPLES_POOL_H

#include <getopt.h>
#include <stdbool.h>

#include <soon.h>

struct pool_choice {
    unsigned workers; /* 0: one for each CPU */
    bool processes;
    int start_method; /* enum soon_start_method, of processes */
};

/* For getopt_long(), which may get other short ones as well. */
#define POOL_OPTIONS "j:p"
extern const struct option pool_long_options[];

#define POOL_USAGE "[-j WORKERS] [-p|--processes] [--start=forkserver|fork|spawn]"

/* Takes an option that getopt_long() found, and its value in optarg. False: it is none of these,
 * or the value makes no sense. */
bool pool_option(struct pool_choice *choice, int option);

/* The same for all of a command line; some of POOL_OPTIONS are enough. */
bool pool_options(struct pool_choice *choice, int argc, char **argv, const char *options);

/* Makes that pool, with everything else left at its default. 0, or a negative errno. */
int pool_open(const struct pool_choice *choice, const char *name, soon_executor **out);

#endif /* EXAMPLES_POOL_H */
