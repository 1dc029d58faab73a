# SPDX-License-Identifier: MIT
"""The programs of the benchmark: which there are here, and how they are built."""
import os
import shlex
import shutil
import subprocess
import sys

HARNESS = ["growth.c", "harness.c", "latency.c", "program.c", "rounds.c", "throughput.c"]


# Workloads of many short calls, for which it makes a difference how a library is linked.
LINKED = {"flood", "detached", "many", "fib", "as-completed", "cancel"}


class Program:
    """One that can be run; workloads, or some only, in the order in which it lists them."""

    def __init__(self, name, command, only=None):
        self.name = name
        self.command = command
        self.workloads = [workload for workload in run([*command, "--list"]).split()
                          if only is None or workload in only]


def run(command, **options):
    """The output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          check=False, **options)
    if done.returncode != 0:
        sys.exit(f"bench: this failed with status {done.returncode}: {shlex.join(command)}")
    return done.stdout


def can(*command, source=None):
    try:
        return subprocess.run(command, input=source, text=True, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


class Builder:
    """Compiles programs of peers into a folder of the build."""

    def __init__(self, source, build, cc, cxx):
        self.source = source
        self.build = os.path.abspath(os.path.join(build, "peers"))
        self.cc = shlex.split(cc)
        self.cxx = shlex.split(cxx)
        self.harness = None
        os.makedirs(self.build, exist_ok=True)

    def path(self, name):
        return os.path.join(self.source, "peers", name)

    def harness_objects(self):
        if self.harness is None:
            self.harness = []
            for name in HARNESS:
                target = os.path.join(self.build, name[:-2] + ".o")
                run([*self.cc, "-std=c11", "-O2", "-D_GNU_SOURCE", "-c",
                     os.path.join(self.source, name), "-o", target])
                self.harness.append(target)
        return self.harness

    def compile(self, name, flags=(), libraries=()):
        """A program in C or C++ over the harness."""
        target = os.path.join(self.build, os.path.splitext(name)[0])
        language = ([*self.cxx, "-std=c++17"] if name.endswith(".cc")
                    else [*self.cc, "-std=c11", "-D_GNU_SOURCE"])
        run([*language, "-O2", f"-I{self.source}", *flags, self.path(name),
             *self.harness_objects(), "-o", target, *libraries, "-lm", "-pthread"])
        return [target]

    # ---- one of these for each peer: its command, or None if it is not here ----

    def package(self, name, *modules):
        if not can("pkg-config", "--exists", *modules):
            return None
        return self.compile(name, run(["pkg-config", "--cflags", *modules]).split(),
                            run(["pkg-config", "--libs", *modules]).split())

    def headers(self, name, header):
        if not can(*self.cxx, "-E", "-x", "c++", "-", source=f"#include <{header}>\n"):
            return None
        return self.compile(name)

    def openmp(self, name):
        """The runtime of gcc; clang has another one."""
        if not shutil.which("gcc"):
            return None
        own, self.cc = self.cc, ["gcc"]
        try:
            return self.compile(name, ["-fopenmp"], ["-fopenmp"])
        finally:
            self.cc = own

    def java(self, name, which):
        if not shutil.which("java") or not shutil.which("javac"):
            return None
        run(["javac", "-d", self.build, self.path(name)])
        return ["java", "-Xms2g", "-XX:+UseParallelGC", "-cp", self.build, "Bench", which]

    def go(self, name):
        if not shutil.which("go"):
            return None
        target = os.path.join(self.build, "go")
        environment = {"GOCACHE": os.path.join(self.build, "go-cache"), "GOFLAGS": "-mod=mod"}
        run(["go", "build", "-o", target, self.path(name)], env={**os.environ, **environment})
        return [target]

    def python(self, name, which):
        return [sys.executable, self.path(name), which]


# Name, how to get its command, and what to install if there is none.
PEERS = [
    ("oneTBB", lambda b: b.package("tbb.cc", "tbb"), "libtbb-dev"),
    ("Boost.Asio", lambda b: b.headers("asio.cc", "boost/asio.hpp"), "libboost-dev"),
    ("GLib", lambda b: b.package("glib.c", "glib-2.0"), "libglib2.0-dev"),
    ("libuv", lambda b: b.package("libuv.c", "libuv"), "libuv1-dev"),
    ("APR", lambda b: b.package("apr.c", "apr-util-1", "apr-1"), "libaprutil1-dev"),
    ("libgomp", lambda b: b.openmp("libgomp.c"), "gcc"),
    ("Java ForkJoinPool", lambda b: b.java("Bench.java", "forkjoin"), "default-jdk-headless"),
    ("Java fixed pool", lambda b: b.java("Bench.java", "fixed"), "default-jdk-headless"),
    ("Go", lambda b: b.go("bench.go"), "golang-go"),
    ("Python ThreadPoolExecutor", lambda b: b.python("pools.py", "threads"), "python3"),
    ("Python ProcessPoolExecutor", lambda b: b.python("pools.py", "processes"), "python3"),
    ("multiprocessing.Pool", lambda b: b.python("pools.py", "pool"), "python3"),
]


def find(libsoon, static, builder, names):
    """All programs, libsoon's first, and the names of those that are missing."""
    programs = [Program("libsoon", [libsoon])]
    skipped = []
    if static:
        programs.append(Program("libsoon.a", [static], LINKED))
    else:
        print("bench: skipped for want of a static library: libsoon.a", flush=True)
        skipped.append("libsoon.a")
    for name, command_of, package in PEERS:
        if names and not any(part.lower() in name.lower() for part in names):
            continue
        command = command_of(builder)
        if command is None:
            print(f"bench: skipped for want of {package}: {name}", flush=True)
            skipped.append(name)
        else:
            programs.append(Program(name, command))
    return programs, skipped
