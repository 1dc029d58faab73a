/* SPDX-License-Identifier: MIT */
/*
 * The variable is SOON_SPAWNED=FD,FD,FD,PARENT in decimal: the descriptors that
 * the worker is born with, and the pid by which it sees whether its parent is
 * still there.
 */
#include "process_pool/spawn.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define VARIABLE "SOON_SPAWNED"

extern char **environ;

/* ---- in the program ---- */

struct soon__spawning {
    size_t size;      /* of this, with all that follows */
    size_t n;         /* variables */
    char *variable[]; /* n, one that is free, NULL; then their text */
};

static bool is_ours(const char *variable)
{
    return strncmp(variable, VARIABLE "=", sizeof VARIABLE) == 0;
}

struct soon__spawning *soon__spawning_new(void)
{
    size_t n = 0, text = 0;

    for (char **v = environ; v && *v; v++)
        if (!is_ours(*v)) {
            n++;
            text += strlen(*v) + 1;
        }
    size_t head = sizeof(struct soon__spawning) + (n + 2) * sizeof(char *);
    struct soon__spawning *spawning = soon__alloc(head + text);
    if (!spawning)
        return NULL;
    *spawning = (struct soon__spawning){.size = head + text, .n = n};
    char *at = (char *)spawning + head;
    size_t i = 0;
    for (char **v = environ; v && *v; v++)
        if (!is_ours(*v)) {
            spawning->variable[i++] = at;
            at = stpcpy(at, *v) + 1;
        }
    spawning->variable[n + 1] = NULL;
    return spawning;
}

void soon__spawning_free(struct soon__spawning *spawning)
{
    if (spawning)
        soon__free(spawning, spawning->size);
}

/* ---- in the nursery ---- */

pid_t soon__spawn_worker(struct soon__spawning *spawning, const int fds[SOON__BORN_FDS])
{
    char variable[sizeof VARIABLE + 4 * sizeof "-2147483648"];
    char option[] = "--soon-worker"; /* for who looks at ps(1) */
    char *argv[] = {program_invocation_name, option, NULL};

    snprintf(variable, sizeof variable, VARIABLE "=%d,%d,%d,%d", fds[0], fds[1], fds[2],
             (int)getpid());
    spawning->variable[spawning->n] = variable;
    /* The very program that runs, also if there is another one of that name by
     * now. Without /proc its name has to do. */
    pid_t pid =
        soon__process_spawn("/proc/self/exe", argv, spawning->variable, fds, SOON__BORN_FDS);
    if (pid == -ENOENT) {
        const char *name = (const char *)getauxval(AT_EXECFN);
        pid = soon__process_spawn(name, argv, spawning->variable, fds, SOON__BORN_FDS);
    }
    return pid;
}

/* ---- in the worker ---- */

/* Digits, as many as an int has, and what comes after them. */
static bool read_number(const char **at, char end, int *number)
{
    long long n = 0;
    const char *digit = *at;

    for (; *digit >= '0' && *digit <= '9' && n <= INT_MAX; digit++)
        n = 10 * n + (*digit - '0');
    if (digit == *at || n > INT_MAX || *digit != end)
        return false;
    *at = digit + 1;
    *number = (int)n;
    return true;
}

static bool read_variable(const char *value, int fds[SOON__BORN_FDS], int *parent)
{
    for (int i = 0; i < SOON__BORN_FDS; i++)
        if (!read_number(&value, ',', &fds[i]) || fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            return false;
    return read_number(&value, '\0', parent);
}

bool soon__nursery_born_here(int fds[SOON__BORN_FDS])
{
    const char *value = getenv(VARIABLE);
    int parent;

    if (!value)
        return false;
    /* Nobody may set a privileged program to work by a variable. */
    if (soon__process_is_privileged() || !read_variable(value, fds, &parent)) {
        fprintf(stderr, "libsoon: " VARIABLE "=%s in the environment is not from this library\n",
                value);
        _exit(127);
    }
    unsetenv(VARIABLE);
    if (!soon__process_settle(parent))
        _exit(EXIT_SUCCESS);
    return true;
}
