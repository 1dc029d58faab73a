# SPDX-License-Identifier: MIT
#
# Figures, not tests: `make bench` measures and asserts nothing about speed.

EXTRA_PROGRAMS = bench/libsoon

bench_harness = \
	bench/growth.c \
	bench/harness.c \
	bench/harness.h \
	bench/latency.c \
	bench/program.c \
	bench/throughput.c \
	bench/workloads.h

bench_libsoon_SOURCES = bench/libsoon.c bench/libsoon.h bench/libsoon_process.c $(bench_harness)
bench_libsoon_CPPFLAGS = -I$(top_srcdir)/include -D_GNU_SOURCE $(SOON_CPPFLAGS)
bench_libsoon_LDADD = lib/libsoon.la -lm

EXTRA_DIST += bench/process_pool.py
CLEANFILES += bench/libsoon

# Repeats of each measurement, of which the median counts.
BENCH_REPEATS = 5

.PHONY: bench
bench: bench/libsoon
	bench/libsoon $${QUICK:+--quick}
	@if command -v python3 >/dev/null; then \
	    echo; python3 $(srcdir)/bench/process_pool.py $(BENCH_REPEATS); \
	else echo 'skipped for want of python3: concurrent.futures, multiprocessing'; fi
