# SPDX-License-Identifier: MIT
"""What the machine makes of a goal that was missed, from the limits of the same run.

A bound says what a row needs at the least, and what that takes by the rows
"limit: ..."; so nothing that needs it can be better. Where a row has several,
they are for different ways of doing it; where one of them allows the goal, the
miss is libsoon's own. README.md, "Limits", says
where the bounds come from.
"""
from typing import Callable, NamedTuple

CPUS = 2  # that the goals are meant for

IN_ORDER, PREFETCHED, LINKED = "in order", "prefetched", "linked"


class Bound(NamedTuple):
    what: str
    rows: list  # that it is computed from, less the "limit: "
    cost: Callable  # of their medians: what one costs, in ns for rates, else in the row's unit
    remark: Callable = lambda *medians: ""


def row_of(name):
    return name if name.startswith(("limit", "growth", "memory")) else f"limit: {name}"


def itself(row):
    return Bound(row, [row], lambda value: value)


def three_ways(way):
    """Of a task that goes to another CPU. How it is found there makes the difference."""
    return [itself(f"item {way}, in order"), itself(f"item {way}, scattered, prefetched"),
            itself(f"item {way}, scattered, linked")]


# A claim and publishing a result are compare-and-swaps.
FORK = [Bound(f"fork and join, on {CPUS} CPUs at once",
              ["fork and join", "atomic compare-and-swap"],
              lambda fork, swap: fork / CPUS,
              lambda fork, swap:
              f" (of {fork:.3g} ns on one, two atomic operations take {2 * swap:.3g})")]
SPINNING = Bound("a cache line to another CPU and back", ["cache line to another CPU"],
                 lambda ns: 2 * ns / 1000)
ASLEEP = itself("wake-up of a thread p50")
PROCESSES = [itself("limit of processes: spinning, p50"),
             itself("limit of processes: futex, asleep, p50")]
# More than ever at once are in memory that is new to the process, which the kernel clears first.
GROWN = [Bound("what it costs at 10^4, and memory that is touched for the first time",
               ["growth: pending, 10^4", "memory of a pending future", "first touch of memory"],
               lambda ns, size, rate: ns + size / rate,
               lambda ns, size, rate: f" ({size:.3g} bytes, {rate:.3g} GB/s)")]

BOUNDS = {
    "flood, 1 producer": three_ways("there and back"),
    "detached flood": three_ways("there"),
    "submit_many": three_ways("there"),
    "fork-join, both children forked": FORK,
    "fork-join, one child forked": FORK,
    "round trip p50": [SPINNING, ASLEEP],
    "round trip p99": [SPINNING, ASLEEP],
    "round trip, busy CPUs, p99": [
        SPINNING, itself("futex round trip of threads, busy CPUs, p99")],
    "as_completed, from the last submit on": three_ways("there"),
    "growth: pending, 10^7": GROWN,
    "process pool: round trip p50": PROCESSES,
    "process pool: flood": three_ways("there and back"),
    "process pool: echo of 1 MiB": [itself("echo of 1 MiB in two copies"),
                                    itself("echo of 1 MiB in three copies")],
}


def explain(figures, row, target, number, details=True):
    """Lines about why row missed target; without details only what follows from them."""
    value, unit = figures.get(row), figures.unit(row)
    a_rate = unit.startswith("M ")
    more = "/s" in unit
    bounds = [b for b in BOUNDS.get(row, [])
              if all(figures.get(row_of(name)) is not None for name in b.rows)]
    if not bounds:
        yield "libsoon's own cost: no limit that is measured here explains it"
        return
    possible = []
    for bound in bounds:
        medians = [figures.get(row_of(name)) for name in bound.rows]
        cost = bound.cost(*medians)
        possible.append(1000 / cost if a_rate else cost)
        enough = possible[-1] >= target if more else possible[-1] <= target
        if details:
            yield (f"{bound.what}: {f'{number(cost)} ns, so ' if a_rate else ''}"
                   f"{'at most' if more else 'at least'} {number(possible[-1])} {unit}"
                   f"{'' if enough else ', which is not enough'}{bound.remark(*medians)}")
    best = max(possible) if more else min(possible)
    if (target > best) if more else (target < best):
        yield "out of this machine's reach"
    elif a_rate:
        yield (f"libsoon's own cost: {number(1000 / value - 1000 / best)} ns beside the lowest "
               f"limit's {number(1000 / best)}, where the goal leaves "
               f"{number(1000 / target - 1000 / best)}")
    else:
        part = value / best if more else best / value
        yield f"libsoon's own cost: it is at {number(100 * part)} % of what the lowest limit allows"
