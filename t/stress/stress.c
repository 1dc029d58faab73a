/* SPDX-License-Identifier: MIT */
#include "stress.h"

#include <signal.h>
#include <stdarg.h>

static const uint64_t run_ns = 2000000000;
static const unsigned hang_seconds = 120;

static const char *program = "stress";
static uint64_t seed;
static uint64_t started;
static long factor = 1;
static bool began_a_round;

void stress_violation(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s: FAIL %s:%d: %s (seed %llu)\n", program, file, line, what,
            (unsigned long long)seed);
    _exit(1);
}

void stress_mismatch(const char *file, int line, const char *what, long long got, long long want)
{
    fprintf(stderr, "%s: FAIL %s:%d: %s is %lld (errno words: %s), want %lld (seed %llu)\n",
            program, file, line, what, got, got < 0 && got > -4096 ? strerror((int)-got) : "none",
            want, (unsigned long long)seed);
    _exit(1);
}

static void on_alarm(int signal)
{
    static const char words[] = "FAIL: a stress program hangs\n";
    (void)signal;
    /* A core would help more than an exit code when this is looked into. */
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
        _exit(1);
    abort();
}

static long env_number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    char *end;
    long n;

    if (text == NULL || *text == '\0')
        return otherwise;
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < 1) {
        fprintf(stderr, "%s: %s must be a number above 0, not '%s'\n", program, name, text);
        exit(1);
    }
    return n;
}

uint64_t stress_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void stress_begin(const char *name)
{
    program = name;
    factor = env_number("SOON_STRESS", 1);
    started = stress_now();
    seed = (uint64_t)env_number("SOON_STRESS_SEED", (long)(started % 1000000007) + 1);
    signal(SIGALRM, on_alarm);
    alarm(hang_seconds * (unsigned)factor);
    printf("%s: seed %llu\n", program, (unsigned long long)seed);
    fflush(stdout);
}

bool stress_more(void)
{
    if (!began_a_round) {
        began_a_round = true;
        return true;
    }
    return stress_now() - started < run_ns * (uint64_t)factor;
}

int stress_end(const char *format, ...)
{
    va_list args;

    alarm(0);
    printf("%s: PASS, ", program);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(", %.1f s\n", (double)(stress_now() - started) / 1e9);
    return 0;
}

static size_t scaled_by(size_t n, size_t divisor)
{
    size_t scaled = n * (size_t)factor / (STRESS_SANITIZED ? divisor : 1);

    return scaled == 0 ? 1 : scaled;
}

size_t stress_count(size_t n)
{
    return scaled_by(n, 20);
}

size_t stress_processes(size_t n)
{
    return scaled_by(n, 4);
}

stress_rng stress_rng_new(uint64_t n)
{
    /* splitmix64: streams of neighbouring numbers have nothing in common. */
    uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (stress_rng){.state = z == 0 ? 1 : z};
}

uint32_t stress_random(stress_rng *rng, uint32_t bound)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 7;
    rng->state ^= rng->state << 17;
    return (uint32_t)(((rng->state >> 32) * bound) >> 32);
}

void stress_spawn(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    REQUIRE_EQ(pthread_create(thread, NULL, fn, arg), 0);
}

void stress_join(pthread_t thread)
{
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
}

void stress_spin(uint64_t ns)
{
    uint64_t until = stress_now() + ns;

    while (stress_now() < until)
        ;
}

soon_executor *stress_pool(unsigned workers)
{
    soon_executor *ex;

    REQUIRE_EQ(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex), 0);
    return ex;
}

void stress_pool_end(soon_executor *ex)
{
    REQUIRE_EQ(soon_shutdown(ex, SOON_FOREVER, 0), 0);
    soon_executor_unref(ex);
}

void stress_require_balance(soon_executor *ex, uint64_t submitted)
{
    soon_stats stats;

    REQUIRE_EQ(soon_executor_stats(ex, &stats), 0);
    REQUIRE_EQ(stats.pending, 0);
    REQUIRE_EQ(stats.running, 0);
    REQUIRE_EQ(stats.finished + stats.failed + stats.cancelled + stats.timed_out, submitted);
}
