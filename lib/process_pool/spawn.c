/* SPDX-License-Identifier: MIT */
/*
 * The variable is SOON_SPAWNED=FD,FD,FD,PARENT,SELF in decimal: the descriptors
 * that the worker is born with, the pid by which it sees whether its parent is
 * still there, and its own, by which other programs that it may execute before
 * it comes to read the variable see that they are not meant.
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

/* Of what has come since it was counted, and finds no room, nothing. */
static void copy_environment(struct soon__spawning *spawning, char *text, size_t size)
{
    size_t n = 0;

    for (char **v = environ; v && *v && n < spawning->n; v++) {
        size_t len = strnlen(*v, size);
        if (is_ours(*v) || len == size)
            continue;
        spawning->variable[n++] = memcpy(text, *v, len);
        text[len] = '\0';
        text += len + 1;
        size -= len + 1;
    }
    spawning->n = n;
    spawning->variable[n + 1] = NULL;
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
    copy_environment(spawning, (char *)spawning + head, text);
    return spawning;
}

void soon__spawning_free(struct soon__spawning *spawning)
{
    if (spawning)
        soon__free(spawning, spawning->size);
}

/* ---- in the nursery ---- */

struct note {
    const int *fds;
    pid_t parent;
    char variable[sizeof VARIABLE + 5 * sizeof "-2147483648"];
};

/* In the new process, which alone knows its pid in time. */
static void write_note(void *arg)
{
    struct note *note = arg;

    snprintf(note->variable, sizeof note->variable, VARIABLE "=%d,%d,%d,%d,%d", note->fds[0],
             note->fds[1], note->fds[2], (int)note->parent, (int)getpid());
}

pid_t soon__spawn_worker(struct soon__spawning *spawning, const int fds[SOON__BORN_FDS])
{
    struct note note = {.fds = fds, .parent = getpid()};
    char option[] = "--soon-worker"; /* for who looks at ps(1) */
    char *argv[] = {program_invocation_name, option, NULL};
    /* The very program that runs, also if there is another one of that name by
     * now. Without /proc its name has to do. */
    struct soon__program program = {.path = "/proc/self/exe",
                                    .argv = argv,
                                    .envp = spawning->variable,
                                    .keep = fds,
                                    .n_keep = SOON__BORN_FDS,
                                    .prepare = write_note,
                                    .arg = &note};

    spawning->variable[spawning->n] = note.variable;
    pid_t pid = soon__process_spawn(&program);
    if (pid == -ENOENT) {
        program.path = (const char *)getauxval(AT_EXECFN);
        pid = soon__process_spawn(&program);
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

struct birth {
    int fds[SOON__BORN_FDS];
    int parent, self;
};

static bool read_variable(const char *value, struct birth *birth)
{
    for (int i = 0; i < SOON__BORN_FDS; i++)
        if (!read_number(&value, ',', &birth->fds[i]))
            return false;
    return read_number(&value, ',', &birth->parent) && read_number(&value, '\0', &birth->self);
}

static bool take_over(int fds[SOON__BORN_FDS], const struct birth *birth)
{
    for (int i = 0; i < SOON__BORN_FDS; i++) {
        fds[i] = birth->fds[i];
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            return false;
    }
    return true;
}

static _Noreturn void refuse(const char *value)
{
    fprintf(stderr, "libsoon: " VARIABLE "=%s in the environment is not from this library\n",
            value);
    _exit(127);
}

bool soon__nursery_born_here(int fds[SOON__BORN_FDS])
{
    const char *value = getenv(VARIABLE);
    struct birth birth;

    if (!value)
        return false;
    if (!read_variable(value, &birth))
        refuse(value);
    if (birth.self != getpid()) {
        unsetenv(VARIABLE);
        return false;
    }
    /* Nobody may set a privileged program to work by a variable. */
    if (soon__process_is_privileged() || !take_over(fds, &birth))
        refuse(value);
    unsetenv(VARIABLE);
    if (!soon__process_settle(birth.parent))
        _exit(EXIT_SUCCESS);
    return true;
}
