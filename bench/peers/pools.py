# SPDX-License-Identifier: MIT
#
# Python's ThreadPoolExecutor (first argument threads), ProcessPoolExecutor
# (processes) and multiprocessing.Pool (pool), with the same workloads, rows and
# output as harness.h and libsoon_process.c have for C. Batches are smaller, as
# everything takes some hundred times as long. Work is left out: it would be
# the interpreter's lock that is measured.
import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import signal
import sys
import threading
import time

WORKERS = 2
NAMES = {"threads": "Python ThreadPoolExecutor", "processes": "Python ProcessPoolExecutor",
         "pool": "multiprocessing.Pool"}
kind = "threads"
quick = False


def size(full):
    return max(1, full // 100) if quick else full


def seconds():
    return 0.01 if quick else 0.2


def row(workload, value, unit, **parameters):
    print(json.dumps({"program": NAMES[kind], "workload": workload, "parameters": parameters,
                      "value": float(f"{value:.6g}"), "unit": unit}), flush=True)


def check(right, what):
    if not right:
        sys.exit(f"bench: {NAMES[kind]}: {what}")


def once(action):
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def each(action):
    """Seconds that one of many rounds takes, after one that is not counted."""
    action()
    took = rounds = 0
    while took < seconds():
        took += once(action)
        rounds += 1
    return took / rounds


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1) + 0.5)]


# ---- tasks; worker processes find them by name ----

def nothing():
    pass


def increment(n):
    return n + 1


def echo(data):
    return data


def meet(_):
    time.sleep(0.1)
    return os.getpid()


# ---- threads ----

def threads():
    return concurrent.futures.ThreadPoolExecutor(WORKERS)


def flood_once(pool, n):
    futures = [pool.submit(increment, k) for k in range(n)]
    check(all(f.result() == k + 1 for k, f in enumerate(futures)), "a result")


def flood_from(pool, producers, n):
    if producers == 1:
        flood_once(pool, n)
        return
    all_of_them = [threading.Thread(target=flood_once, args=(pool, n)) for _ in range(producers)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()


def flood():
    for producers in 1, 4:
        batch = size(20000) // producers
        with threads() as pool:
            took = each(lambda: flood_from(pool, producers, batch))
        row("flood, 1 producer" if producers == 1 else "flood, 4 producers",
            producers * batch / took / 1e6, "M futures/s", workers=WORKERS, producers=producers,
            batch=batch)


def post(n):
    with threads() as pool:
        for _ in range(n):
            pool.submit(nothing)


def detached():
    n = size(20000)
    row("detached flood", n / each(lambda: post(n)) / 1e6, "M tasks/s", workers=WORKERS,
        producers=1, batch=n)


def many():
    n = size(20000)
    with threads() as pool:
        took = each(lambda: check(sum(pool.map(increment, range(n))) == n * (n + 1) // 2, "map"))
    row("submit_many with results", n / took / 1e6, "M futures/s", workers=WORKERS, producers=1,
        batch=n)


def trips(trip, most):
    us = []
    for _ in range(most // 20 + 1):
        trip()
    end = time.perf_counter() + seconds() * 2
    while len(us) < most and (len(us) < most // 20 + 1 or time.perf_counter() < end):
        us.append(once(trip) * 1e6)
    return us


def report_trips(name, trip, quantiles, most=20000):
    us = trips(trip, size(most))
    for q in quantiles:
        row(f"{name} p{q * 100:g}", quantile(us, q), "us", workers=WORKERS, tasks=len(us))


def round_trip():
    with threads() as pool:
        report_trips("round trip", lambda: pool.submit(nothing).result(), (0.5, 0.99, 0.999))


def hog():
    while True:
        pass


def round_trip_busy():
    hogs = [multiprocessing.Process(target=hog, daemon=True) for _ in range(2)]
    for process in hogs:
        process.start()
    with threads() as pool:
        report_trips("round trip, busy CPUs,", lambda: pool.submit(nothing).result(),
                     (0.5, 0.99, 0.999))
    for process in hogs:
        process.kill()
        process.join()


def wake_up():
    us = []
    with threads() as pool:
        for _ in range(size(100)):
            time.sleep(0.01)
            begin = time.perf_counter()
            us.append((pool.submit(time.perf_counter).result() - begin) * 1e6)
    row("wake-up after 10 ms idle p50", quantile(us, 0.5), "us", workers=WORKERS, tasks=len(us))
    row("wake-up after 10 ms idle p90", quantile(us, 0.9), "us", workers=WORKERS, tasks=len(us))


def as_completed():
    n = size(20000)
    rest = 0

    def go():
        nonlocal rest
        futures = [pool.submit(increment, k) for k in range(n)]
        begin = time.perf_counter()
        total = sum(f.result() for f in concurrent.futures.as_completed(futures))
        rest = time.perf_counter() - begin
        check(total == n * (n + 1) // 2, "results")

    with threads() as pool:
        took = each(go)
    row("as_completed", n / took / 1e6, "M futures/s", workers=WORKERS, futures=n)
    row("as_completed, from the last submit on", n / rest / 1e6, "M futures/s", workers=WORKERS,
        futures=n)


def callback():
    n = size(10000)

    async def go():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(pool, increment, k)
                                         for k in range(n)))
        check(sum(results) == n * (n + 1) // 2, "results of callbacks")

    with threads() as pool:
        took = each(lambda: asyncio.run(go()))
    row("callback in a loop", n / took / 1e6, "M callbacks/s", workers=WORKERS, batch=n)


def occupy(pool):
    """Every worker, until the event that is returned is set."""
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait():
        inside.release()
        gate.wait()

    for _ in range(WORKERS):
        pool.submit(wait)
    for _ in range(WORKERS):
        inside.acquire()
    return gate


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def memory():
    n = size(100000)
    with threads() as pool:
        gate = occupy(pool)
        futures = [None] * n
        before = resident()
        for k in range(n):
            futures[k] = pool.submit(increment, k)
        row("memory of a pending future", (resident() - before) / n, "bytes", workers=WORKERS,
            futures=n)
        gate.set()


def cancel():
    n = size(20000)
    with threads() as pool:
        gate = occupy(pool)
        futures = [pool.submit(increment, k) for k in range(n)]
        took = once(lambda: check(all(f.cancel() for f in futures), "cancel"))
        gate.set()
    row("cancel", took / n * 1e9, "ns", workers=WORKERS, futures=n)


def switches():
    total = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            with open(f"/proc/self/task/{task}/status", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if "voluntary_ctxt" in line)
    return total


def idle():
    pause = 0.1 if quick else 1
    with threads() as pool:
        flood_once(pool, 1000)
        time.sleep(0.2)
        woken, cpu = switches(), time.process_time()
        time.sleep(pause)
        cpu = time.process_time() - cpu
        woken = switches() - woken
    row("idle pool: CPU time", cpu * 1e6 / pause, "us/s", workers=WORKERS)
    row("idle pool: wake-ups", woken / pause, "1/s", workers=WORKERS)


# ---- processes: the two of them differ in how a task is submitted and taken ----

def processes(workers=WORKERS):
    if kind == "pool":
        return multiprocessing.Pool(workers)
    return concurrent.futures.ProcessPoolExecutor(workers)


def submit(pool, fn, *args):
    """What gives the result when it is called."""
    if kind == "pool":
        return pool.apply_async(fn, args).get
    return pool.submit(fn, *args).result


def process_round_trip():
    with processes() as pool:
        report_trips("process pool: round trip", lambda: submit(pool, nothing)(), (0.5, 0.99), 5000)


def process_flood():
    n = size(5000)

    def go():
        results = [submit(pool, increment, k) for k in range(n)]
        check(all(result() == k + 1 for k, result in enumerate(results)), "a result")

    with processes() as pool:
        row("process pool: flood", n / each(go) / 1e6, "M tasks/s", workers=WORKERS, producers=1,
            batch=n)


def process_map():
    n = size(400000)
    # The chunks that Pool.map() chooses by itself; the executor's are of one item.
    more = {} if kind == "pool" else {"chunksize": n // (WORKERS * 4)}

    with processes() as pool:
        took = each(lambda: check(sum(pool.map(increment, range(n), **more)) == n * (n + 1) // 2,
                                  "map"))
    row("process pool: map", n / took / 1e6, "M items/s", workers=WORKERS, items=n)


def echoes(pool, data, n):
    """Four are under way."""
    ahead = [submit(pool, echo, data) for _ in range(min(4, n))]
    for k in range(n):
        check(len(ahead.pop(0)()) == len(data), "an echo")
        if k + 4 < n:
            ahead.append(submit(pool, echo, data))


def process_echo():
    with processes() as pool:
        for name, length in (("64 B", 64), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10),
                             ("1 MiB", 1 << 20), ("8 MiB", 8 << 20), ("64 MiB", 64 << 20)):
            if quick and length > 1 << 20:
                break
            data = b"x" * length
            n = max(2, min(2000, size(128 << 20) // length))
            echoes(pool, data, n // 4 + 1)
            took = once(lambda: echoes(pool, data, n))
            row(f"process pool: echo of {name}", n * length / took / 1e9, "GB/s", workers=WORKERS,
                bytes=length, tasks=n)


def proportional_size(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def process_start():
    workers = 64
    begin = time.perf_counter()
    with processes(workers) as pool:
        results = [submit(pool, meet, k) for k in range(workers)]
        pids = {result() for result in results}
        took = time.perf_counter() - begin - 0.1
        kib = sum(proportional_size(pid) for pid in pids) / len(pids)
    row("process pool: start of 64 workers", took / workers * 1e6, "us each", workers=workers)
    row("process pool: memory of 64 workers", kib, "KiB each", workers=workers)


OF_THREADS = {"flood": flood, "detached": detached, "many": many, "round-trip": round_trip,
              "round-trip-busy": round_trip_busy, "wake-up": wake_up,
              "as-completed": as_completed, "callback": callback, "memory": memory,
              "cancel": cancel, "idle": idle}
OF_PROCESSES = {"process-round-trip": process_round_trip, "process-flood": process_flood,
                "process-map": process_map, "process-echo": process_echo,
                "process-start": process_start}


def main():
    global kind, quick
    kind = sys.argv[1]
    workloads = OF_THREADS if kind == "threads" else OF_PROCESSES
    names = [arg for arg in sys.argv[2:] if not arg.startswith("--")]
    quick = "--quick" in sys.argv
    if "--list" in sys.argv:
        print("\n".join(workloads))
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in names or workloads:
        workloads[name]()


if __name__ == "__main__":
    main()
