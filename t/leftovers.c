/* SPDX-License-Identifier: MIT */
#include "leftovers.h"

#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- processes ---- */

/* Reads /proc/PID/stat: false if the process is gone or only its entry is
 * left. */
static bool process_read(pid_t pid, struct process *out)
{
    char path[64], line[512];
    const char *name, *end;
    FILE *file;
    size_t got;
    int parent;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    got = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[got] = '\0';
    name = strchr(line, '(');
    end = strrchr(line, ')');
    if (!name || !end || sscanf(end, ") %c %d", &out->state, &parent) != 2)
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)(end - name - 1), name + 1);
    out->pid = pid;
    out->parent = parent;
    return out->state != 'Z' && out->state != 'X';
}

enum { PROCESSES = 8192 };

/* Every living process there is. */
static size_t processes_read(struct process *out)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    REQUIRE(proc);
    while ((entry = readdir(proc)) != NULL) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);

        if (*end == '\0' && pid > 0 && process_read((pid_t)pid, &out[n]))
            REQUIRE(++n < PROCESSES);
    }
    closedir(proc);
    return n;
}

static bool descends(const struct process *all, size_t n, const struct process *p, pid_t ancestor)
{
    /* Pids may have been used anew while they were read, so that the parents
     * may run in a circle. */
    for (size_t depth = 0; depth < n && p->parent > 1; depth++) {
        size_t i = 0;

        if (p->parent == ancestor)
            return true;
        while (i < n && all[i].pid != p->parent)
            i++;
        if (i == n)
            return false;
        p = &all[i];
    }
    return p->parent == ancestor;
}

size_t processes_below(pid_t ancestor, const char *prefix, struct process *out, size_t max)
{
    struct process *all = calloc(PROCESSES, sizeof *all);
    size_t count, found = 0;

    REQUIRE(all);
    count = processes_read(all);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(all[i].name, prefix, strlen(prefix)) != 0 ||
            !descends(all, count, &all[i], ancestor))
            continue;
        if (found < max)
            out[found] = all[i];
        found++;
    }
    free(all);
    return found;
}

/* Where orphans go: Check's process, of which each test is a child unless it
 * was told not to fork. */
static pid_t reaper; /* Sync: const after main() has begun */

size_t processes_of_test(const char *prefix, struct process *out, size_t max)
{
    enum { ROOM = 256 };
    struct process all[ROOM];
    size_t found = 0, n = processes_below(reaper, prefix, all, ROOM);

    REQUIRE(n <= ROOM);
    for (size_t i = 0; i < n; i++)
        if (all[i].pid != getpid() && found++ < max)
            out[found - 1] = all[i];
    return found;
}

bool process_lives(pid_t pid)
{
    struct process process;

    return process_read(pid, &process);
}

void leftovers_of_orphans(void)
{
    reaper = getpid();
    REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
}

/* ---- descriptors and mappings ---- */

enum { DESCRIPTORS = 1024 };

/* Marks the numbers that are open; returns how many there are. */
static unsigned descriptors_read(bool open[DESCRIPTORS])
{
    DIR *fds = opendir("/proc/self/fd");
    struct dirent *entry;
    unsigned count = 0;

    REQUIRE(fds);
    memset(open, 0, DESCRIPTORS * sizeof *open);
    while ((entry = readdir(fds)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(fds))
            continue;
        count++;
        if (fd < DESCRIPTORS)
            open[fd] = true;
    }
    closedir(fds);
    return count;
}

unsigned descriptor_count(void)
{
    bool open[DESCRIPTORS];

    return descriptors_read(open);
}

/* Their number, and in *bytes what they span. */
static unsigned mappings_read(pid_t pid, size_t *bytes)
{
    char path[64], line[1024];
    unsigned count = 0;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    REQUIRE(maps);
    *bytes = 0;
    while (fgets(line, sizeof line, maps)) {
        size_t from, to;

        if (!strstr(line, "/memfd:") || strstr(line, "/memfd:soon-test-shared"))
            continue;
        REQUIRE(sscanf(line, "%zx-%zx", &from, &to) == 2);
        count++;
        *bytes += to - from;
    }
    fclose(maps);
    return count;
}

unsigned mapping_count(void)
{
    size_t bytes;

    return mappings_read(getpid(), &bytes);
}

size_t mapping_bytes(pid_t pid)
{
    size_t bytes;

    mappings_read(pid, &bytes);
    return bytes;
}

/* ---- before and after ---- */

/* What was there when the test began. */
static struct {
    bool open[DESCRIPTORS];
    unsigned descriptors, mappings;
    size_t processes;
} before;

void leftovers_begin(void)
{
    before.descriptors = descriptors_read(before.open);
    before.mappings = mapping_count();
    before.processes = processes_of_test("", NULL, 0);
}

static bool all_gone(void)
{
    return processes_of_test("", NULL, 0) <= before.processes &&
           descriptor_count() <= before.descriptors && mapping_count() <= before.mappings;
}

static void complain(void)
{
    char text[4096] = "", link[64], target[256];
    struct process left[16];
    bool open[DESCRIPTORS];
    size_t len = 0, n = processes_of_test("", left, 16);
    ssize_t got;

    for (size_t i = 0; n > before.processes && i < n && i < 16; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, " process %d (%s, %c, child of %d)",
                                (int)left[i].pid, left[i].name, left[i].state, (int)left[i].parent);
    descriptors_read(open);
    for (int fd = 0; fd < DESCRIPTORS && len < sizeof text - 400; fd++) {
        if (!open[fd] || before.open[fd])
            continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        got = readlink(link, target, sizeof target - 1);
        target[got < 0 ? 0 : got] = '\0';
        len += (size_t)snprintf(text + len, sizeof text - len, " descriptor %d (%s)", fd, target);
    }
    ck_abort_msg("left behind:%s; %u mappings, %u before", text, mapping_count(), before.mappings);
}

void leftovers_end(void)
{
    const char *multiplier = getenv("CK_TIMEOUT_MULTIPLIER");
    const soon_ns deadline = now_ns() + SOON_SECONDS(10) * (multiplier ? atoi(multiplier) : 1);

    while (!all_gone()) {
        if (now_ns() > deadline)
            complain();
        sleep_ns(SOON_MS(1));
    }
}
