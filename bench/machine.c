/* SPDX-License-Identifier: MIT */
/*
 * What it costs to change a word that nobody else wants, and to hand memory
 * from one CPU to another: the price of a task that anybody may take.
 */
#include "machine.h"
#include "workloads.h"

#include <math.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- measuring ----
 *
 * Of what this file measures the least of many times counts: nobody can be
 * faster than the machine at its best, and at other times it did other things. */

double machine_repeat(double (*once)(void *data), void *data, double q)
{
    enum { MOST = 1000 };
    double values[MOST], end;
    size_t n = 0;

    once(data); /* is not counted */
    end = bench_now() + bench_seconds();
    do
        values[n++] = once(data);
    while (n < MOST && bench_now() < end);
    return bench_quantile(values, n, q);
}

/* The first and the last CPU that this process may use. Numbers that are far
 * apart are seldom those of one core. */
static void find_cpus(int cpu[2])
{
    cpu_set_t set;

    bench_check(sched_getaffinity(0, sizeof set, &set), "sched_getaffinity");
    cpu[0] = cpu[1] = -1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) {
            cpu[0] = cpu[0] < 0 ? i : cpu[0];
            cpu[1] = i;
        }
}

bool machine_two_cpus(const char *what)
{
    int cpu[2];

    find_cpus(cpu);
    if (cpu[0] == cpu[1])
        fprintf(stderr, "bench: skipped for want of a second CPU: %s\n", what);
    return cpu[0] != cpu[1];
}

struct pair {
    void (*fn[2])(void *data);
    void *data;
    int cpu[2];
    atomic_int next; /* which of them the next thread is. Sync: atomic */
};

static void enter_pair(void *data)
{
    struct pair *pair = data;
    int i = atomic_fetch_add(&pair->next, 1);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)pair->cpu[i], &set);
    bench_check(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
    pair->fn[i](pair->data);
}

void machine_on_two_cpus(void (*first)(void *data), void (*second)(void *data), void *data)
{
    struct pair pair = {.fn = {first, second}, .data = data};

    find_cpus(pair.cpu);
    bench_in_threads(2, enter_pair, &pair);
}

/* ---- a word that nobody else wants ---- */

enum { ATOMICS = 10000 };

static alignas(MACHINE_APART) atomic_ulong word;

static double ns_each(uint64_t begin, size_t n)
{
    return (double)(bench_ns() - begin) / (double)n;
}

static double add(void *data)
{
    uint64_t begin = bench_ns();

    (void)data;
    for (int i = 0; i < ATOMICS; i++)
        atomic_fetch_add(&word, 1);
    return ns_each(begin, ATOMICS);
}

static double compare_and_swap(void *data)
{
    unsigned long old = atomic_load(&word);
    uint64_t begin = bench_ns();

    (void)data;
    for (int i = 0; i < ATOMICS; i++, old++)
        bench_check(!atomic_compare_exchange_strong(&word, &old, old + 1), "compare-and-swap");
    return ns_each(begin, ATOMICS);
}

static void run_atomics(const struct bench_peer *peer)
{
    (void)peer;
    bench_row("limit: atomic add", machine_repeat(add, NULL, 0), "ns", "times=%d", ATOMICS);
    bench_row("limit: atomic compare-and-swap", machine_repeat(compare_and_swap, NULL, 0), "ns",
              "times=%d", ATOMICS);
}

/* ---- a line to another CPU ---- */

enum { TRIPS = 1000, OVER = UINT32_MAX };

static struct {
    alignas(MACHINE_APART) _Atomic uint32_t ball; /* odd: the second one's turn. Sync: atomic */
    double ns;                                    /* one way. Sync: first thread only */
} line;

static double pass_line(void *data)
{
    uint64_t begin = bench_ns();

    (void)data;
    for (uint32_t i = 0; i < TRIPS; i++) {
        /* release, acquire: the partners are in return_line(). */
        atomic_store_explicit(&line.ball, 1, memory_order_release);
        while (atomic_load_explicit(&line.ball, memory_order_acquire) == 1)
            ;
    }
    return ns_each(begin, (size_t)2 * TRIPS);
}

static void first_of_line(void *data)
{
    line.ns = machine_repeat(pass_line, data, 0);
    atomic_store(&line.ball, OVER);
}

static void return_line(void *data)
{
    uint32_t ball;

    (void)data;
    /* acquire, release: the partners are in pass_line(). */
    while ((ball = atomic_load_explicit(&line.ball, memory_order_acquire)) != OVER)
        if (ball == 1)
            atomic_store_explicit(&line.ball, 0, memory_order_release);
}

static void first_of_short_line(void *data)
{
    enum { TIMES = 3 };
    double ns[TIMES];

    pass_line(data);
    for (int i = 0; i < TIMES; i++)
        ns[i] = pass_line(data);
    line.ns = bench_quantile(ns, TIMES, 0.5);
    atomic_store(&line.ball, OVER);
}

double machine_distance(void)
{
    atomic_store(&line.ball, 0);
    machine_on_two_cpus(first_of_short_line, return_line, NULL);
    return line.ns;
}

#define NEAR_TIMES 2 /* the least distance ever seen, or more: then they are apart */

void machine_meter(void)
{
    enum { AT_FIRST = 40 };
    bool two = machine_two_cpus("the distance between CPUs");
    double least = INFINITY;
    char request;

    for (int i = 0; two && i < AT_FIRST; i++, bench_doze(0.025))
        least = fmin(least, machine_distance());
    while (read(STDIN_FILENO, &request, 1) == 1) {
        double ns = two && request == '?' ? machine_distance() : 0;
        if (ns > 0)
            least = fmin(least, ns);
        if (request == '?')
            putchar(ns < NEAR_TIMES * least ? 'n' : 'a');
        else
            printf("%.1f\n", two ? least : 0);
        fflush(stdout);
    }
}

/* ---- many lines, one after the other ---- */

/* What a task is to a CPU: two lines that one CPU writes and another reads and
 * writes. */
struct item {
    struct item *next; /* Sync: const while it is handed over */
    uint64_t argument; /* Sync: the counters of struct stream, as for result */
    alignas(MACHINE_APART / 2) uint64_t result;
};

_Static_assert(sizeof(struct item) == MACHINE_APART, "two lines");

/* How who gets the items knows where the next one is. */
enum finding {
    IN_ORDER,   /* beside the last one, where the processor fetches it unasked */
    PREFETCHED, /* anywhere, but known beforehand, and asked for some items ahead */
    LINKED,     /* anywhere, and the last one says where */
};

enum {
    BATCH = 64, /* items that are handed over together, so that counting costs little */
    AHEAD = 12, /* items between asking for one and using it */
};

struct stream {
    struct item *items;  /* Sync: const after init, as are the next four */
    struct item **order; /* in which they are handed over */
    size_t n;
    enum finding finding;
    bool back;                                     /* are the results read? */
    double ns;                                     /* an item. Sync: first thread only */
    alignas(MACHINE_APART) atomic_size_t written;  /* items, of all rounds. Sync: atomic */
    alignas(MACHINE_APART) atomic_size_t answered; /* items, of all rounds. Sync: atomic */
    alignas(MACHINE_APART) _Atomic(bool) over;     /* Sync: atomic */
};

static void ask_for(const struct stream *stream, size_t i, size_t end)
{
    if (stream->finding == PREFETCHED && i + AHEAD < end) {
        __builtin_prefetch(stream->order[i + AHEAD], 1);
        __builtin_prefetch(&stream->order[i + AHEAD]->result, 1);
    }
}

static size_t end_of_batch(const struct stream *stream, size_t i)
{
    return stream->n - i < BATCH ? stream->n : i + BATCH;
}

static void write_items(struct stream *stream)
{
    for (size_t i = 0; i < stream->n;) {
        size_t end = end_of_batch(stream, i), n = end - i;
        for (; i < end; i++) {
            struct item *item = stream->order[i];
            ask_for(stream, i, stream->n);
            item->next = i + 1 < stream->n ? stream->order[i + 1] : stream->order[0];
            item->argument = i;
            item->result = 0;
        }
        atomic_fetch_add(&stream->written, n);
    }
}

static void read_results(struct stream *stream, size_t answered_before)
{
    for (size_t i = 0; i < stream->n;) {
        size_t end = end_of_batch(stream, i);
        while (atomic_load(&stream->answered) - answered_before < end)
            machine_pause();
        for (; i < end; i++) {
            ask_for(stream, i, end);
            bench_check(stream->order[i]->result != i + 1, "a result of another CPU");
        }
    }
}

/* ns an item, of all of them there and, if asked for, back. */
static double hand_over(void *data)
{
    struct stream *stream = data;
    size_t before = atomic_load(&stream->answered);
    uint64_t begin = bench_ns();

    write_items(stream);
    if (stream->back)
        read_results(stream, before);
    while (atomic_load(&stream->answered) - before < stream->n)
        machine_pause();
    return ns_each(begin, stream->n);
}

static void first_of_stream(void *data)
{
    struct stream *stream = data;

    stream->ns = machine_repeat(hand_over, stream, 0);
    atomic_store(&stream->over, true);
}

/* Answers items [i, end); the first of them is known. Gives the one after them. */
static struct item *answer(const struct stream *stream, struct item *item, size_t i, size_t end)
{
    for (; i < end; i++) {
        if (stream->finding != LINKED)
            item = stream->order[i];
        ask_for(stream, i, end);
        item->result = item->argument + 1;
        item = item->next;
    }
    return item;
}

static void second_of_stream(void *data)
{
    struct stream *stream = data;
    struct item *item = stream->order[0];
    size_t answered = 0, written;

    while (!atomic_load(&stream->over)) {
        while ((written = atomic_load(&stream->written)) != answered) {
            /* Not beyond the last one: the round after begins at the first. */
            size_t i = answered % stream->n, n = written - answered;
            n = n < stream->n - i ? n : stream->n - i;
            n = n < BATCH ? n : BATCH;
            item = answer(stream, item, i, i + n);
            answered += n;
            atomic_store(&stream->answered, answered);
        }
        machine_pause();
    }
}

/* Puts items in an order in which no processor expects them, the same each time. */
static void shuffle(struct item **order, size_t n)
{
    uint64_t x = 88172645463325252u;

    for (size_t i = n - 1; i > 0; i--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        size_t j = x % (i + 1);
        struct item *item = order[i];
        order[i] = order[j];
        order[j] = item;
    }
}

static void measure_stream(size_t n, bool back, enum finding finding, const char *how)
{
    struct stream stream = {.n = n, .finding = finding, .back = back};
    char row[100];

    stream.items = aligned_alloc(MACHINE_APART, stream.n * sizeof *stream.items);
    stream.order = calloc(stream.n, sizeof *stream.order);
    bench_check(!stream.items || !stream.order, "no memory");
    for (size_t i = 0; i < stream.n; i++)
        stream.order[i] = &stream.items[i];
    if (stream.finding != IN_ORDER)
        shuffle(stream.order, stream.n);
    machine_on_two_cpus(first_of_stream, second_of_stream, &stream);
    snprintf(row, sizeof row, "limit: item there%s, %s", stream.back ? " and back" : "", how);
    bench_row(row, stream.ns, "ns", "items=%zu bytes=%zu", stream.n, sizeof *stream.items);
    free(stream.order);
    free(stream.items);
}

static void run_lines(const struct bench_peer *peer)
{
    static const char *const how[] = {"in order", "scattered, prefetched", "scattered, linked"};
    size_t n = bench_size(100000);

    (void)peer;
    if (!machine_two_cpus("handing cache lines over"))
        return;
    machine_on_two_cpus(first_of_line, return_line, NULL);
    bench_row("limit: cache line to another CPU", line.ns, "ns", "times=%d", TRIPS);
    for (int back = 0; back <= 1; back++)
        for (enum finding finding = IN_ORDER; finding <= LINKED; finding++)
            measure_stream(n, back != 0, finding, how[finding]);
}

const struct bench_workload machine_workloads[] = {
    {"limit-atomics", run_atomics},
    {"limit-lines", run_lines},
    {NULL, NULL},
};
