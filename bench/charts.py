# SPDX-License-Identifier: MIT
"""Charts of the figures, drawn by gnuplot: bars with their spread, and curves."""
import os
import shutil
import subprocess

from report import LIBSOON, SHORT, STATIC, Figures, number

OURS, OTHERS, MORE = "#c0392b", "#8fa3b5", ["#c0392b", "#2c6fad", "#3a8f5c", "#b8860b", "#7d4f9e"]

THROUGHPUT = ["flood, 1 producer", "flood, 4 producers", "detached flood",
              "fork-join, one child forked", "fork-join, both children forked", "as_completed",
              "callback in a loop", "tasks of 20 us"]
LATENCY = ["round trip p50", "round trip p99", "round trip, busy CPUs, p50",
           "round trip, busy CPUs, p99", "wake-up after 10 ms idle p50", "cancel",
           "memory of a pending future"]
PROCESSES = ["process pool: round trip p50", "process pool: flood", "process pool: map",
             "process pool: start of 64 workers", "process pool: memory of 64 workers"]
ECHOES = [("64 B", 64), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20),
          ("8 MiB", 8 << 20), ("64 MiB", 64 << 20)]


def text(string):
    """As gnuplot takes it, to be shown as it is."""
    return '"' + string.replace("_", "\\\\_").replace("^", "\\\\^") + '"'


def bars(figures, row, logarithmic):
    """One panel: a bar for each program that has the row, the best on top."""
    entries = [figures.entries[row, p] for p in figures.programs if (row, p) in figures.entries]
    unit = entries[0]["unit"]
    more_is_better = "/s" in unit or "%" in unit
    entries.sort(key=lambda e: e["median"], reverse=not more_is_better)
    low = 0
    if logarithmic:
        low = min(e["min"] for e in entries if e["min"] > 0) / 3
    tics, data = [], []
    for y, e in enumerate(entries):
        ours = e["program"] in (LIBSOON, STATIC)
        name = SHORT.get(e["program"], LIBSOON)
        tics.append(f"{text(name)} {y}")
        data.append(f"{y} {max(e['median'], low)} {max(e['min'], low)} {max(e['max'], low)} "
                    f"{int(ours)} {number(e['median'])}")
    better = "more is better" if more_is_better else "less is better"
    top = max(e["max"] for e in entries)
    return "\n".join([
        "$data << END", *data, "END",
        f"set title {text(row)}",
        f"set xlabel {text(unit + ', ' + better + (', logarithmic' if logarithmic else ''))}",
        f"set ytics ({', '.join(tics)}) nomirror scale 0",
        f"set yrange [-0.6:{len(entries) - 0.4}]",
        "set logscale x" if logarithmic else "unset logscale x",
        f"set xrange [{low or 0}:{top * (8 if logarithmic else 1.25)}]",
        f"plot $data using ({low}):1:({low}):($5 > 0 ? NaN : $2):($1-0.36):($1+0.36) "
        f"with boxxyerror fill solid lc rgb '{OTHERS}' notitle, "
        f"$data using ({low}):1:({low}):($5 > 0 ? $2 : NaN):($1-0.36):($1+0.36) "
        f"with boxxyerror fill solid lc rgb '{OURS}' notitle, "
        "$data using 2:1:3:4 with xerrorbars pt 0 lc rgb '#333333' notitle, "
        "$data using 4:1:6 with labels left offset 0.6,0 font ',10' notitle",
    ])


def panels(figures, rows, logarithmic, columns):
    rows = [row for row in rows if figures.get(row) is not None]
    if not rows:
        return None
    lines = -(-len(rows) // columns)
    head = [f"set terminal svg size {columns * 420},{lines * 290} font 'sans-serif,12' "
            "background 'white'", f"set multiplot layout {lines},{columns} margins "
            f"{0.1 if columns > 1 else 0.2},0.98,{0.22 / lines},{1 - 0.12 / lines} "
            f"spacing {0.3 / columns},{0.42 / lines}",
            "set border 1", "set xtics nomirror", "set grid xtics lc rgb '#dddddd'",
            "set bars small"]
    return "\n".join(head + [bars(figures, row, logarithmic) for row in rows]
                     + ["unset multiplot"])


def curves(lines, title, xlabel, ylabel, xtics):
    """One panel: lines is [(name, [(x, entry)])]."""
    blocks, plots = [], []
    for i, (name, points) in enumerate(lines):
        blocks += [f"$curve{i} << END",
                   *[f"{x} {e['median']} {e['min']} {e['max']}" for x, e in points], "END"]
        colour = MORE[i % len(MORE)]
        plots += [f"$curve{i} using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.5 lc rgb '{colour}' "
                  f"title {text(name)}"]
    tics = ", ".join(f'"{name}" {x}' for name, x in xtics)
    xs = [x for _, x in xtics]
    return "\n".join(blocks + [f"set title {text(title)}", f"set xlabel {text(xlabel)}",
                               f"set ylabel {text(ylabel)}", f"set xtics ({tics}) nomirror",
                               f"set xrange [{min(xs) / 1.5}:{max(xs) * 1.5}]",
                               "plot " + ", ".join(plots)])


def series(figures, prefix, costs, xs, program=LIBSOON):
    found = []
    for cost, name in costs:
        points = [(x, figures.entries[f"{prefix}: {cost}, {label}", program]) for label, x in xs
                  if (f"{prefix}: {cost}, {label}", program) in figures.entries]
        if points:
            found.append((name, points))
    return found


def growth(figures):
    sizes = [(f"10^{d}", 10 ** d) for d in range(3, 8)]
    workers = [(str(2 ** i), 2 ** i) for i in range(7)]
    costs = series(figures, "growth",
                   [(c, c) for c in ("pending", "cancel", "detached", "submit_many",
                                     "as_completed")], sizes)
    rates = series(figures, "workers", [("flood", "flood, M futures/s"),
                                        ("detached", "detached, M tasks/s"),
                                        ("fib", "fork-join, M forks/s")], workers)
    rates += series(figures, "process workers", [("flood", "process pool: flood, M tasks/s")],
                    workers)
    if not costs or not rates:
        return None
    head = ["set terminal svg size 840,400 font 'sans-serif,12' background 'white'",
            "set multiplot layout 1,2 margins 0.08,0.98,0.33,0.92 spacing 0.1,0",
            "set border 3", "set ytics nomirror", "set grid ytics lc rgb '#dddddd'",
            "set logscale x", "set logscale y", "set key outside below font ',10'",
            "set bars small"]
    return "\n".join(head + [
        curves(costs, "Cost of a task", "tasks at once", "ns, logarithmic", sizes),
        curves(rates, "More workers than CPUs", "workers", "M/s, logarithmic", workers),
        "unset multiplot"])


def echoes(figures):
    lines = []
    for program in figures.programs:
        points = [(x, figures.entries[f"process pool: echo of {name}", program])
                  for name, x in ECHOES if (f"process pool: echo of {name}", program)
                  in figures.entries]
        if points:
            lines.append((program, points))
    if not lines:
        return None
    head = ["set terminal svg size 620,360 font 'sans-serif,12' background 'white'", "set border 3",
            "set ytics nomirror", "set grid ytics lc rgb '#dddddd'", "set logscale x",
            "set logscale y", "set key bottom right font ',10'", "set bars small"]
    return "\n".join(head + [curves(lines, "Process pools: echo", "size of argument and result",
                                    "GB/s, logarithmic", ECHOES)])


def mark(path):
    """Puts the licence below the first line of a chart, as every file has it."""
    with open(path, encoding="utf-8") as file:
        first, rest = file.read().split("\n", 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{first}\n<!-- SPDX-License-Identifier: MIT -->\n{rest}")


def draw(document, directory):
    """The paths of the charts it has drawn."""
    if not shutil.which("gnuplot"):
        print("bench: skipped for want of gnuplot: the charts")
        return []
    figures = Figures(document)
    scripts = {"throughput": panels(figures, THROUGHPUT, False, 2),
               "latency": panels(figures, LATENCY, True, 2),
               "growth": growth(figures),
               "processes": panels(figures, PROCESSES, True, 2),
               "echo": echoes(figures)}
    drawn = []
    for name, script in scripts.items():
        if script is None:
            continue
        path = os.path.join(directory, name + ".svg")
        subprocess.run(["gnuplot", "-"], input=f"set output '{path}'\n{script}\n", text=True,
                       check=True)
        mark(path)
        drawn.append(path)
    return drawn
