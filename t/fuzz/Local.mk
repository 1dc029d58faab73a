# SPDX-License-Identifier: MIT
#
# The fuzz target's kept inputs, played by `make check`; t/gates/fuzz looks for
# new ones with clang's fuzzer. The options are for both: what stands in the
# place of lib/os, see system.c and workers.c.

t_fuzz_wraps = \
	-Wl,--wrap=pthread_join \
	-Wl,--wrap=soon__futex_wait \
	-Wl,--wrap=soon__poll_wait \
	-Wl,--wrap=soon__process_signal \
	-Wl,--wrap=soon__shm_map \
	-Wl,--wrap=soon__shm_unmap \
	-Wl,--wrap=soon__thread_start \
	-Wl,--wrap=soon_executor_fini

check_PROGRAMS += t/fuzz/channel
TESTS += t/fuzz/channel

t_fuzz_channel_SOURCES = \
	t/fuzz/ambush.c \
	t/fuzz/channel.c \
	t/fuzz/fuzz.h \
	t/fuzz/judge.c \
	t/fuzz/madman.c \
	t/fuzz/program.c \
	t/fuzz/replay.c \
	t/fuzz/system.c \
	t/fuzz/workers.c
t_fuzz_channel_CPPFLAGS = $(AM_CPPFLAGS) -DSOON_INJECT=1
t_fuzz_channel_LDFLAGS = $(AM_LDFLAGS) $(t_fuzz_wraps)
t_fuzz_channel_LDADD = lib/libsoon-test.la

EXTRA_DIST += t/fuzz/corpus
