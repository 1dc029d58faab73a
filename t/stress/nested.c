/* SPDX-License-Identifier: MIT */
/*
 * Tasks that wait for each other along random graphs, on few workers. Where no
 * cycle can be reached every task gets its answer and never -EDEADLK; in every
 * cycle somebody gets -EDEADLK; all of them end, and the pool goes on.
 */
#include "stress.h"

enum { NODES = 24, MOST_EDGES = 4 };

static struct graph {
    soon_future *futures[NODES];
    unsigned edges[NODES][MOST_EDGES], degree[NODES];
    bool reach[NODES][NODES];
    bool together[NODES]; /* waits with one soon_wait() before it reads results */
    atomic_bool deadlocked[NODES];
    atomic_bool full; /* the table of futures is */
} graph;

/* What a node answers if nothing below it is in a cycle. */
static uint64_t answer(unsigned node)
{
    uint64_t sum = node + 1;

    for (unsigned k = 0; k < graph.degree[node]; k++)
        sum += 3 * answer(graph.edges[node][k]) % 1000003;
    return sum;
}

static bool waits_for_all(unsigned node)
{
    soon_future *below[MOST_EDGES];
    int got;

    for (unsigned k = 0; k < graph.degree[node]; k++)
        below[k] = graph.futures[graph.edges[node][k]];
    got = soon_wait(below, graph.degree[node], SOON_ALL_COMPLETED, SOON_FOREVER);
    REQUIRE(got >= 0 || got == -EDEADLK);
    return got >= 0;
}

static int visit(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned node;
    uint64_t sum;

    REQUIRE_EQ(arg_len, sizeof node);
    memcpy(&node, arg, sizeof node);
    sum = node + 1;
    while (!atomic_load(&graph.full))
        sched_yield();
    if (graph.together[node] && !waits_for_all(node))
        atomic_store(&graph.deadlocked[node], true);
    for (unsigned k = 0; k < graph.degree[node]; k++) {
        uint64_t below = 0;
        int error = soon_future_result(graph.futures[graph.edges[node][k]], SOON_FOREVER, &below,
                                       sizeof below);

        REQUIRE(error == 0 || error == -EDEADLK);
        if (error != 0)
            atomic_store(&graph.deadlocked[node], true);
        sum += 3 * below % 1000003;
    }
    return soon_return(call, &sum, sizeof sum);
}

static void draw_graph(stress_rng *rng, bool acyclic)
{
    memset(graph.reach, 0, sizeof graph.reach);
    for (unsigned i = 0; i < NODES; i++) {
        unsigned room = acyclic ? NODES - 1 - i : NODES;

        graph.degree[i] = room == 0 ? 0 : stress_random(rng, acyclic ? MOST_EDGES + 1 : 3);
        graph.together[i] = stress_random(rng, 2) == 0;
        atomic_store(&graph.deadlocked[i], false);
        for (unsigned k = 0; k < graph.degree[i]; k++) {
            graph.edges[i][k] = (acyclic ? i + 1 : 0) + stress_random(rng, room);
            graph.reach[i][graph.edges[i][k]] = true;
        }
    }
    for (unsigned k = 0; k < NODES; k++)
        for (unsigned i = 0; i < NODES; i++)
            for (unsigned j = 0; j < NODES; j++)
                graph.reach[i][j] |= graph.reach[i][k] && graph.reach[k][j];
}

static bool meets_cycle(unsigned node)
{
    for (unsigned i = 0; i < NODES; i++)
        if (graph.reach[i][i] && (i == node || graph.reach[node][i]))
            return true;
    return false;
}

/* Somebody among those that node reaches and that reach node saw the cycle. */
static bool cycle_was_seen(unsigned node)
{
    for (unsigned i = 0; i < NODES; i++)
        if (graph.reach[node][i] && graph.reach[i][node] && atomic_load(&graph.deadlocked[i]))
            return true;
    return false;
}

static void check_node(unsigned node)
{
    uint64_t got;

    REQUIRE_EQ(soon_future_result(graph.futures[node], SOON_FOREVER, &got, sizeof got), 0);
    if (meets_cycle(node)) {
        REQUIRE(!graph.reach[node][node] || cycle_was_seen(node));
        return;
    }
    REQUIRE(!atomic_load(&graph.deadlocked[node]));
    REQUIRE_EQ(got, answer(node));
}

static void run_graph(soon_executor *ex, stress_rng *rng, bool acyclic)
{
    unsigned order[NODES];

    draw_graph(rng, acyclic);
    atomic_store(&graph.full, false);
    for (unsigned i = 0; i < NODES; i++) {
        unsigned j = stress_random(rng, i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (unsigned i = 0; i < NODES; i++)
        REQUIRE_EQ(soon_submit(ex, visit, &order[i], sizeof order[i], &graph.futures[order[i]]), 0);
    atomic_store(&graph.full, true);
    for (unsigned i = 0; i < NODES; i++)
        REQUIRE_EQ(soon_future_wait(graph.futures[i], SOON_FOREVER), 0);
    for (unsigned i = 0; i < NODES; i++)
        check_node(i);
    for (unsigned i = 0; i < NODES; i++)
        soon_future_unref(graph.futures[i]);
}

int main(void)
{
    uint64_t graphs = 0;

    stress_begin("stress/nested");
    while (stress_more()) {
        stress_rng rng = stress_rng_new(graphs);
        soon_executor *ex = stress_pool(1 + stress_random(&rng, 3));

        for (unsigned n = 0; n < 8; n++, graphs++)
            run_graph(ex, &rng, n % 2 == 0);
        stress_pool_end(ex);
    }
    return stress_end("%llu graphs of %d tasks", (unsigned long long)graphs, NODES);
}
