# SPDX-License-Identifier: MIT
"""The table of all figures, and what was aimed at beside what was reached."""
import json

import limits

LIBSOON, STATIC = "libsoon", "libsoon.a"
C_PEERS = ["oneTBB", "Boost.Asio", "GLib", "libuv", "APR"]
SHORT = {STATIC: STATIC, "oneTBB": "oneTBB", "Boost.Asio": "Asio", "GLib": "GLib",
         "libuv": "libuv", "APR": "APR", "libgomp": "libgomp", "Java ForkJoinPool": "Java FJP",
         "Java fixed pool": "Java fix", "Go": "Go", "Python ThreadPoolExecutor": "Py thr",
         "Python ProcessPoolExecutor": "Py proc", "multiprocessing.Pool": "Py Pool"}


def to_json(document):
    """One measurement a line, so that two versions can be compared."""
    head = {"license": "SPDX-License-Identifier: MIT",
            **{key: value for key, value in document.items() if key != "measurements"}}
    lines = [json.dumps(entry) for entry in document["measurements"]]
    return (json.dumps(head, indent=1)[:-2] + ',\n "measurements": [\n  '
            + ",\n  ".join(lines) + "\n ]\n}\n")


class Figures:
    """Medians by row and program."""

    def __init__(self, document):
        self.entries = {(e["workload"], e["program"]): e for e in document["measurements"]}
        self.rows = list(dict.fromkeys(e["workload"] for e in document["measurements"]))
        self.programs = list(dict.fromkeys(e["program"] for e in document["measurements"]))

    def get(self, row, program=LIBSOON):
        entry = self.entries.get((row, program))
        return None if entry is None else entry["median"]

    def unit(self, row):
        return next(e["unit"] for (name, _), e in self.entries.items() if name == row)

    def best(self, row, programs, lowest=False):
        """(value, program) of the best of them, or None."""
        values = [(self.get(row, p), p) for p in programs if self.get(row, p) is not None]
        return (min if lowest else max)(values) if values else None


# ---- tables ----

def number(value):
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    digits = 2 if abs(value) >= 1 else 3
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.{max(0, digits + 1 - len(str(int(abs(value)))))}f}"


def table(figures, rows, programs, title=LIBSOON):
    programs = [p for p in programs if any(figures.get(row, p) is not None for row in rows)]
    lines = [["", "", title, "(spread)", *[SHORT[p] for p in programs]]]
    for row in rows:
        entry = figures.entries.get((row, LIBSOON))
        spread = "" if entry is None else f"({number(entry['min'])} to {number(entry['max'])})"
        lines.append([row, figures.unit(row), number(figures.get(row)), spread,
                      *[number(figures.get(row, p)) for p in programs]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) if i < 2 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(line, widths))).rstrip())


def matrix(figures, prefix, title):
    """Rows "PREFIX: COST, SIZE" as one line for each cost."""
    cells = {}
    for row in figures.rows:
        if row.startswith(prefix + ": ") and figures.get(row) is not None:
            cost, size = row[len(prefix) + 2:].rsplit(", ", 1)
            cells.setdefault((cost, figures.unit(row)), {})[size] = number(figures.get(row))
    if not cells:
        return
    sizes = list(dict.fromkeys(size for line in cells.values() for size in line))
    print(f"\n{title}\n")
    width = max(len(cost) + len(unit) for cost, unit in cells) + 3
    print(" " * width + "".join(size.rjust(10) for size in sizes))
    for (cost, unit), line in cells.items():
        print(f"{cost}, {unit}".ljust(width) + "".join(line.get(size, "-").rjust(10)
                                                        for size in sizes))


# ---- goals ----

# Each is a row and a function of the figures, which gives the goal in words, the
# figure aimed at (None if there is nothing to compare with), and whether more
# is better.

def at_least(row, limit):
    return row, lambda figures: (f"at least {limit:g} {figures.unit(row)}", limit, True)


def at_most(row, limit):
    return row, lambda figures: (f"at most {limit:g} {figures.unit(row)}", limit, False)


def times_the_best(row, factor, programs):
    def aim(figures):
        best = figures.best(row, programs)
        if best is None:
            return "no peer to compare with", None, True
        return (f"at least {factor:g} x {number(best[0])}, the best peer's ({best[1]})",
                factor * best[0], True)
    return row, aim


def part_of_the_best(row, factor, programs):
    def aim(figures):
        best = figures.best(row, programs, lowest=True)
        if best is None:
            return "no peer to compare with", None, False
        return (f"at most {factor:g} x {number(best[0])}, the best C or C++ peer's ({best[1]})",
                factor * best[0], False)
    return row, aim


def beside(row, factor, other, what):
    """At most factor times another figure of libsoon's program, or if negative at least."""
    def aim(figures):
        reference = figures.get(other)
        if reference is None:
            return f"nothing to compare with: {other}", None, factor < 0
        return (f"{'at least' if factor < 0 else 'at most'} {abs(factor):g} x "
                f"{number(reference)}, {what}", abs(factor) * reference, factor < 0)
    return row, aim


PEERS = [name for name in SHORT if name not in (STATIC, "libgomp")]
GOALS = [
    at_least("flood, 1 producer", 10),
    times_the_best("flood, 1 producer", 2, PEERS),
    at_least("detached flood", 15),
    at_least("submit_many", 20),
    at_least("fork-join, both children forked", 40),
    times_the_best("fork-join, both children forked", 1, ["Java ForkJoinPool", "oneTBB"]),
    times_the_best("fork-join, one child forked", 1, ["Java ForkJoinPool", "oneTBB"]),
    part_of_the_best("round trip p50", 1, C_PEERS),
    part_of_the_best("round trip p99", 0.5, C_PEERS),
    at_most("round trip, busy CPUs, p99", 1000),
    at_least("as_completed, from the last submit on", 5),
    beside("growth: as_completed, 10^6", 1.5, "growth: as_completed, 10^4", "the cost at 10^4"),
    at_most("memory of a pending future", 128),
    at_least("tasks of 20 us", 95),
    at_most("idle pool: CPU time", 0),
    at_most("idle pool: wake-ups", 0),
    at_most("process pool: round trip p50", 8),
    beside("process pool: round trip p50", 2, "limit of processes: futex, asleep, p50",
           "the futex limit"),
    at_least("process pool: flood", 1),
    at_least("process pool: map", 10),
    at_least("process pool: echo of 1 MiB", 5),
    beside("process workers: flood, 64", -0.8, "process workers: flood, 2", "that of 2 workers"),
    beside("growth: pending, 10^7", 1.5, "growth: pending, 10^4", "the cost at 10^4"),
    beside("workers: flood, 64", -0.8, "workers: flood, 2", "that of 2 workers"),
]


def beside_static(figures, row, target, more):
    """What the static library makes of a goal that was missed."""
    value = figures.get(row, STATIC)
    if value is not None:
        met = value >= target if more else value <= target
        yield f"with {STATIC}: {number(value)}, which {'meets it' if met else 'misses it, too'}"


def goals(figures):
    print("\nGoals\n")
    explained = set()
    for row, aim in GOALS:
        value = figures.get(row)
        if value is None:
            continue
        text, target, more = aim(figures)
        met = None if target is None else value >= target if more else value <= target
        verdict = {True: "met", False: "MISSED", None: "?"}[met]
        print(f"{verdict.ljust(6)}  {row}: {number(value)}; {text}")
        if met is False:
            for line in [*beside_static(figures, row, target, more),
                         *limits.explain(figures, row, target, number, row not in explained)]:
                print(f"        {line}")
            explained.add(row)


def show(document):
    figures = Figures(document)
    peers = [p for p in figures.programs if p in SHORT]
    simple = [row for row in figures.rows if ": " not in row or row.startswith("idle")]
    grown = ("growth", "workers", "process workers", "process growth")
    measured_limits = [row for row in figures.rows if row.startswith("limit")]
    processes = [row for row in figures.rows if row not in [*simple, *measured_limits]
                 and row.split(":")[0] not in grown]

    if document["quick"]:
        print("\nA quick run, which shows that everything works. Its figures mean nothing.")
    print(f"\nThread pools of 2 workers; medians of {document['repeats']}\n")
    table(figures, simple, peers)
    if processes:
        print("\nProcess pools of 2 workers\n")
        table(figures, processes, peers)
    if measured_limits:
        print("\nLimits of the machine\n")
        table(figures, measured_limits, [], "machine")
    matrix(figures, "growth", "Cost of a task in ns, of 10^3 to 10^7 at once")
    matrix(figures, "workers", "More workers than CPUs")
    matrix(figures, "process growth", "Process pool: cost of a task in ns, of 10^3 to 10^6 at once")
    matrix(figures, "process workers", "Process pool: more workers than CPUs")
    if not document["quick"]:
        goals(figures)
