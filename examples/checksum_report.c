/* SPDX-License-Identifier: MIT */
/* Lines, errors and a progress bar, which may all share one terminal. See checksum.h. */
#include "checksum.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool shown, over_lines; /* on stderr; and the lines on stdout are on a terminal as well */
    double begin, drawn;    /* in seconds */
    double total;           /* in bytes */
    char text[128];
} bar;

static bool failed;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What is printed above the bar goes between these two. */
static void lift_bar(void)
{
    if (bar.shown)
        fputs("\r\033[K", stderr);
}

static void lower_bar(void)
{
    if (bar.shown)
        fputs(bar.text, stderr);
}

void report_begin(uint64_t total)
{
    bar.shown = true;
    bar.over_lines = isatty(STDOUT_FILENO);
    bar.begin = now();
    bar.total = (double)total;
}

/* Files can have grown since they were counted, hence the limit of 100 %. */
static void format_bar(double done, double seconds)
{
    double part = done < bar.total ? done / bar.total : 1, rate = done / seconds;
    unsigned left = rate > 0 ? (unsigned)((bar.total * (1 - part)) / rate + 0.5) : 0;
    snprintf(bar.text, sizeof bar.text, "[%-24.*s] %3.0f%%  %.1f MB/s  ETA %u:%02u",
             (int)(part * 24), "========================", part * 100, rate * 1e-6, left / 60,
             left % 60);
}

bool report_due(void)
{
    return now() - bar.drawn >= 0.1;
}

void report_progress(uint64_t done)
{
    bar.drawn = now();
    fflush(stdout);
    format_bar((double)done, bar.drawn - bar.begin + 1e-9);
    lift_bar();
    lower_bar();
}

void report_error(const char *path, const char *why)
{
    failed = true;
    lift_bar();
    fprintf(stderr, "checksum: %s: %s\n", path, why);
    lower_bar();
}

/* sha256sum escapes backslash, newline and return in a name, and marks such a line. */
static void print_name(const char *path)
{
    for (; *path != '\0'; path++) {
        if (*path == '\\')
            fputs("\\\\", stdout);
        else if (*path == '\n')
            fputs("\\n", stdout);
        else if (*path == '\r')
            fputs("\\r", stdout);
        else
            putchar(*path);
    }
}

void report_digest(const unsigned char *digest, const char *path)
{
    static const char hex[] = "0123456789abcdef";
    if (bar.over_lines)
        lift_bar();
    if (strpbrk(path, "\\\n\r") != NULL)
        putchar('\\');
    for (int i = 0; i < DIGEST_LEN; i++) {
        putchar(hex[digest[i] >> 4]);
        putchar(hex[digest[i] & 15]);
    }
    fputs("  ", stdout);
    print_name(path);
    putchar('\n');
    if (bar.over_lines)
        lower_bar();
}

bool report_end(uint64_t done)
{
    report_progress(done);
    bool lost = ferror(stdout);
    if (fflush(stdout) != 0 || lost)
        report_error("standard output", "write error");
    if (bar.shown)
        fputc('\n', stderr);
    return !failed;
}
