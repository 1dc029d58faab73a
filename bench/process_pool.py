#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# The same of Python's pools: NAME VALUE UNIT, a line each.
import concurrent.futures
import multiprocessing
import statistics
import sys
import time

WORKERS = 2


def nothing():
    pass


def increment(n):
    return n + 1


def echo(data):
    return data


def report(name, repeats, measure, unit):
    values = sorted(measure() for _ in range(repeats))
    print(f"{name:28} {statistics.median(values):12.4g} {unit}   "
          f"({values[0]:.4g} to {values[-1]:.4g})", flush=True)


def timed(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    trips, tasks, items = 500, 5000, 400000
    megabyte = b"x" * (1 << 20)

    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        def trip():
            return statistics.median(
                timed(lambda: pool.submit(nothing).result()) for _ in range(trips)) * 1e6

        def flood():
            return tasks / timed(lambda: [f.result() for f in
                                          [pool.submit(nothing) for _ in range(tasks)]]) / 1e6

        def echoes():
            return 64 * len(megabyte) / timed(lambda: [f.result() for f in
                                                       [pool.submit(echo, megabyte)
                                                        for _ in range(64)]]) / 1e9

        report("executor: round trip", repeats, trip, "us p50")
        report("executor: flood", repeats, flood, "M tasks/s")
        report("executor: echo 1 MiB", repeats, echoes, "GB/s each way")

    with multiprocessing.Pool(WORKERS) as pool:
        report("Pool: round trip", repeats, lambda: statistics.median(
            timed(lambda: pool.apply(nothing)) for _ in range(trips)) * 1e6, "us p50")
        report("Pool: flood", repeats, lambda: tasks / timed(
            lambda: [r.get() for r in [pool.apply_async(nothing) for _ in range(tasks)]]) / 1e6,
            "M tasks/s")
        report("Pool: map", repeats, lambda: items / timed(
            lambda: pool.map(increment, range(items))) / 1e6, "M items/s")


if __name__ == "__main__":
    main()
