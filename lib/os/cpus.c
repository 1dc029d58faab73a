/* SPDX-License-Identifier: MIT */
/*
 * Two files lead to the quotas. Each line of /proc/self/cgroup names a
 * hierarchy and this process's group in it ("0::/a/b" is cgroup v2,
 * "4:cpu,cpuacct:/a/b" a v1 one). /proc/self/mountinfo says where that
 * hierarchy is mounted, and which group of it is the root of the mount: in a
 * container that is often not "/". From the group up to the root of the mount
 * each directory may hold a quota (v2: cpu.max, "QUOTA PERIOD" or "max ...";
 * v1: cpu.cfs_quota_us, negative for none, and cpu.cfs_period_us).
 */
#include "os/cpus.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One hierarchy that can limit CPU time. */
struct hierarchy {
    bool v2;
    char group[PATH_MAX]; /* this process's, as seen from the hierarchy's root */
    char root[PATH_MAX];  /* the group that is mounted at mount */
    char mount[PATH_MAX];
};

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == '\0' || p[n] == ','))
            return true;
    return false;
}

/* mountinfo writes a blank, tab, newline or backslash as three octal digits. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s; s++)
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    *to = '\0';
}

/* Splits off the next blank-separated field. */
static char *field(char **rest)
{
    return strsep(rest, " \n");
}

static bool keep(char *to, const char *from)
{
    size_t n = strlen(from);

    if (n >= PATH_MAX)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

/* "36 35 0:31 ROOT MOUNT rw,... [optional]... - TYPE SOURCE OPTIONS" */
static bool parse_mount(char *line, struct hierarchy *h)
{
    char *rest = line, *root, *mount, *type, *options, *f;

    for (int i = 0; i < 3; i++)
        field(&rest);
    root = field(&rest);
    mount = field(&rest);
    while ((f = field(&rest)) && strcmp(f, "-") != 0)
        ;
    type = field(&rest);
    field(&rest);
    options = field(&rest);
    if (!options)
        return false;
    if (h->v2 ? strcmp(type, "cgroup2") != 0
              : strcmp(type, "cgroup") != 0 || !has_word(options, "cpu"))
        return false;
    unescape(root);
    unescape(mount);
    return keep(h->root, root) && keep(h->mount, mount);
}

static bool find_mount(const char *path, struct hierarchy *h)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    if (!file)
        return false;
    while (!found && getline(&line, &size, file) > 0)
        found = parse_mount(line, h);
    free(line);
    fclose(file);
    return found;
}

static bool read_numbers(const char *dir, const char *name, long long *first, long long *second)
{
    char path[PATH_MAX + 32];
    int n = 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    n = second ? fscanf(file, "%lld %lld", first, second) : fscanf(file, "%lld", first);
    fclose(file);
    return n == (second ? 2 : 1); /* "max" is no number: no limit */
}

/* What one directory allows, rounded up; UINT_MAX for no limit. */
static unsigned quota_of(const struct hierarchy *h, const char *dir)
{
    long long quota, period;

    if (h->v2 ? !read_numbers(dir, "cpu.max", &quota, &period)
              : !read_numbers(dir, "cpu.cfs_quota_us", &quota, NULL) ||
                    !read_numbers(dir, "cpu.cfs_period_us", &period, NULL))
        return UINT_MAX;
    if (quota <= 0 || period <= 0)
        return UINT_MAX;
    long long cpus = quota / period + (quota % period != 0);
    return cpus < UINT_MAX ? (unsigned)cpus : UINT_MAX;
}

/* The smallest quota from the group up to the root of the mount. */
static unsigned quota_over_ancestors(const struct hierarchy *h)
{
    size_t skip = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
    const char *below = h->group;
    unsigned least = UINT_MAX;
    char dir[2 * PATH_MAX];

    /* Inside a cgroup namespace the group may lie outside what is mounted:
     * then the mount itself is all that can be seen. */
    if (skip && (strncmp(below, h->root, skip) != 0 || (below[skip] != '/' && below[skip] != '\0')))
        below = "";
    else
        below += skip;
    snprintf(dir, sizeof dir, "%s%s", h->mount, below);
    for (;;) {
        unsigned quota = quota_of(h, dir);
        if (quota < least)
            least = quota;
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < strlen(h->mount))
            return least;
        *slash = '\0';
    }
}

/* "ID:CONTROLLERS:GROUP"; only v2 and v1's cpu can limit CPU time. */
static bool parse_group(char *line, struct hierarchy *h)
{
    char *rest = line;
    char *id = strsep(&rest, ":"), *controllers = strsep(&rest, ":");

    if (!rest)
        return false;
    rest[strcspn(rest, "\n")] = '\0';
    h->v2 = strcmp(id, "0") == 0 && *controllers == '\0';
    return (h->v2 || has_word(controllers, "cpu")) && keep(h->group, rest);
}

unsigned soon__cpus_from(const struct soon__cpus_paths *paths, unsigned affinity)
{
    FILE *file = fopen(paths->cgroup, "re");
    unsigned least = affinity;
    struct hierarchy h;
    char *line = NULL;
    size_t size = 0;

    while (file && getline(&line, &size, file) > 0)
        if (parse_group(line, &h) && find_mount(paths->mountinfo, &h)) {
            unsigned quota = quota_over_ancestors(&h);
            if (quota < least)
                least = quota;
        }
    free(line);
    if (file)
        fclose(file);
    return least ? least : 1;
}

/* The mask may be larger than cpu_set_t: ask with more room until it fits. */
static unsigned affinity(void)
{
    for (size_t cpus = CPU_SETSIZE; cpus <= 1u << 20; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set)
            break;
        int failed = sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set);
        int n = failed ? 0 : CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set);
        CPU_FREE(set);
        if (!failed)
            return n > 0 ? (unsigned)n : 1;
        if (errno != EINVAL)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

unsigned soon__cpus(void)
{
    static const struct soon__cpus_paths here = {"/proc/self/cgroup", "/proc/self/mountinfo"};

    return soon__cpus_from(&here, affinity());
}

unsigned soon__workers_default(void)
{
    const char *text = getenv("SOON_MAX_WORKERS");
    char *end;

    if (!text)
        return soon__cpus();
    errno = 0;
    long n = strtol(text, &end, 10);
    bool sound = *text && *end == '\0' && !errno && n >= 1 && n <= SOON__WORKERS_MAX;
    return sound ? (unsigned)n : 0;
}
