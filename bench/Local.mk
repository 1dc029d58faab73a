# SPDX-License-Identifier: MIT
#
# Figures, not tests: `make bench` measures and asserts nothing about speed.

EXTRA_PROGRAMS = bench/process_pool

bench_process_pool_SOURCES = bench/process_pool.c
bench_process_pool_CPPFLAGS = $(examples_cppflags)
bench_process_pool_LDADD = lib/libsoon.la

EXTRA_DIST += bench/process_pool.py
CLEANFILES += bench/process_pool

# Repeats of each measurement, of which the median counts.
BENCH_REPEATS = 5

.PHONY: bench
bench: bench/process_pool
	bench/process_pool $(BENCH_REPEATS)
	@if command -v python3 >/dev/null; then \
	    echo; python3 $(srcdir)/bench/process_pool.py $(BENCH_REPEATS); \
	else echo 'skipped for want of python3: concurrent.futures, multiprocessing'; fi
