# SPDX-License-Identifier: MIT
#
# Figures, not tests. `make bench` measures libsoon beside its peers, shows a
# table and what was aimed at, and leaves results.json and charts in bench/out;
# QUICK=1 only shows that everything works. `make bench-update` does the same
# for the figures that are kept with the sources and shown in README.md.

EXTRA_PROGRAMS = bench/libsoon
if STATIC
bench_static = bench/libsoon_static
EXTRA_PROGRAMS += bench/libsoon_static
endif

bench_harness = \
	bench/growth.c \
	bench/harness.c \
	bench/harness.h \
	bench/latency.c \
	bench/program.c \
	bench/rounds.c \
	bench/throughput.c \
	bench/workloads.h

bench_libsoon_SOURCES = \
	bench/libsoon.c \
	bench/libsoon.h \
	bench/libsoon_process.c \
	bench/machine.c \
	bench/machine.h \
	bench/machine_fork.c \
	bench/machine_system.c \
	$(bench_harness)
bench_libsoon_CPPFLAGS = -I$(top_srcdir)/include -D_GNU_SOURCE $(SOON_CPPFLAGS)
bench_libsoon_LDADD = lib/libsoon.la -lm

# The same with libsoon.a, optimised together with it.
bench_libsoon_static_SOURCES = $(bench_libsoon_SOURCES)
bench_libsoon_static_CPPFLAGS = $(bench_libsoon_CPPFLAGS) -DBENCH_NAME='"libsoon.a"'
bench_libsoon_static_CFLAGS = $(AM_CFLAGS) $(SOON_LTO_CFLAGS)
bench_libsoon_static_LDFLAGS = $(AM_LDFLAGS) -static
bench_libsoon_static_LDADD = $(bench_libsoon_LDADD)

bench_charts = \
	bench/echo.svg \
	bench/growth.svg \
	bench/latency.svg \
	bench/processes.svg \
	bench/throughput.svg

EXTRA_DIST += \
	bench/README.md \
	bench/charts.py \
	bench/limits.py \
	bench/peers/Bench.java \
	bench/peers/apr.c \
	bench/peers/asio.cc \
	bench/peers/bench.go \
	bench/peers/glib.c \
	bench/peers/libgomp.c \
	bench/peers/libuv.c \
	bench/peers/pools.py \
	bench/peers/tbb.cc \
	bench/programs.py \
	bench/report.py \
	bench/results.json \
	bench/run \
	bench/verify \
	$(bench_charts)
CLEANFILES += bench/libsoon bench/libsoon_static

# Repeats of each measurement, of which the median counts.
BENCH_REPEATS = 5
BENCH_OUT = bench/out

.PHONY: bench bench-update bench-clean
bench: bench/libsoon $(bench_static)
	@command -v python3 >/dev/null || { echo 'make bench needs python3' >&2; exit 1; }
	@$(MKDIR_P) $(BENCH_OUT)
	python3 -B $(srcdir)/bench/run --libsoon bench/libsoon \
	    $(if $(bench_static),--static $(bench_static)) --build bench/out --out $(BENCH_OUT) \
	    --cc '$(CC)' --cxx '$(CXX)' --repeats $(BENCH_REPEATS) $(if $(QUICK),--quick) $(BENCH_FLAGS)

bench-update:
	$(MAKE) bench BENCH_OUT=$(srcdir)/bench

clean-local: bench-clean
bench-clean:
	rm -rf bench/out
