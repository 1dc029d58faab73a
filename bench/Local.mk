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

EXTRA_DIST += \
	bench/peers/Bench.java \
	bench/peers/apr.c \
	bench/peers/asio.cc \
	bench/peers/bench.go \
	bench/peers/glib.c \
	bench/peers/libgomp.c \
	bench/peers/libuv.c \
	bench/peers/pools.py \
	bench/peers/tbb.cc
CLEANFILES += bench/libsoon

.PHONY: bench
bench: bench/libsoon
	bench/libsoon $(if $(QUICK),--quick)
