# SPDX-License-Identifier: MIT

# Bottom up: what is below knows nothing of what is above.
soon_sources = \
	lib/os/barrier.c \
	lib/os/barrier.h \
	lib/os/clock.c \
	lib/os/clock.h \
	lib/os/cpus.c \
	lib/os/cpus.h \
	lib/os/event.c \
	lib/os/event.h \
	lib/os/fetch.h \
	lib/os/futex.c \
	lib/os/futex.h \
	lib/os/hint.h \
	lib/os/inject.c \
	lib/os/inject.h \
	lib/os/kept_fd.c \
	lib/os/kept_fd.h \
	lib/os/lock.c \
	lib/os/lock.h \
	lib/os/object.c \
	lib/os/object.h \
	lib/os/own_fd.c \
	lib/os/own_fd.h \
	lib/os/packet.c \
	lib/os/packet.h \
	lib/os/pair.h \
	lib/os/patience.c \
	lib/os/patience.h \
	lib/os/poll.c \
	lib/os/poll.h \
	lib/os/process.c \
	lib/os/process.h \
	lib/os/segment.h \
	lib/os/shm.c \
	lib/os/shm.h \
	lib/os/spin.c \
	lib/os/spin.h \
	lib/os/symbol.c \
	lib/os/symbol.h \
	lib/os/thread.c \
	lib/os/thread.h \
	lib/os/twin.c \
	lib/os/wait_group.h \
	lib/core/as_completed.c \
	lib/core/batch.c \
	lib/core/batch.h \
	lib/core/block.c \
	lib/core/block.h \
	lib/core/call.c \
	lib/core/call.h \
	lib/core/callback.c \
	lib/core/callback.h \
	lib/core/callback_index.c \
	lib/core/callback_index.h \
	lib/core/chain.h \
	lib/core/deque.h \
	lib/core/error.c \
	lib/core/error.h \
	lib/core/depot.c \
	lib/core/depot.h \
	lib/core/entry_table.c \
	lib/core/entry_table.h \
	lib/core/executor.c \
	lib/core/executor.h \
	lib/core/fork.c \
	lib/core/fork.h \
	lib/core/future.c \
	lib/core/future.h \
	lib/core/imap.c \
	lib/core/future_cache.c \
	lib/core/future_cache.h \
	lib/core/join.c \
	lib/core/join.h \
	lib/core/last_error.c \
	lib/core/last_error.h \
	lib/core/map.c \
	lib/core/mem.c \
	lib/core/mem.h \
	lib/core/misuse.c \
	lib/core/misuse.h \
	lib/core/promise.c \
	lib/core/run.c \
	lib/core/submit.c \
	lib/core/submit.h \
	lib/core/submit_many.c \
	lib/core/submit_plain.c \
	lib/core/tally.c \
	lib/core/tally.h \
	lib/core/task_queue.c \
	lib/core/thread.c \
	lib/core/thread.h \
	lib/core/timer.c \
	lib/core/timer.h \
	lib/core/transition.c \
	lib/core/transition.h \
	lib/core/version.c \
	lib/core/wait.c \
	lib/core/wait.h \
	lib/inline/inline.c \
	lib/loop/loop.c \
	lib/process_pool/assist.c \
	lib/process_pool/brood.c \
	lib/process_pool/brood.h \
	lib/process_pool/channel.h \
	lib/process_pool/collect.c \
	lib/process_pool/death.c \
	lib/process_pool/dispatch.c \
	lib/process_pool/function.c \
	lib/process_pool/function.h \
	lib/process_pool/init.c \
	lib/process_pool/monitor.c \
	lib/process_pool/nursery.c \
	lib/process_pool/nursery.h \
	lib/process_pool/pool.c \
	lib/process_pool/pool.h \
	lib/process_pool/port.c \
	lib/process_pool/recall.c \
	lib/process_pool/register.c \
	lib/process_pool/register.h \
	lib/process_pool/reports.c \
	lib/process_pool/seat.c \
	lib/process_pool/spawn.c \
	lib/process_pool/spawn.h \
	lib/process_pool/store.c \
	lib/process_pool/stuck.c \
	lib/process_pool/worker.c \
	lib/process_pool/worker.h \
	lib/thread_pool/backlog.c \
	lib/thread_pool/backlog.h \
	lib/thread_pool/flush.c \
	lib/thread_pool/idle.c \
	lib/thread_pool/inbox.h \
	lib/thread_pool/pool.c \
	lib/thread_pool/pool.h \
	lib/thread_pool/runner.c \
	lib/thread_pool/schedule.c \
	lib/thread_pool/share.c \
	lib/thread_pool/worker.c

EXTRA_DIST += lib/soon.map

# -version-info CURRENT:REVISION:AGE; the SONAME carries CURRENT - AGE. Before a
# release, if the library changed at all since the last one:
#
#   only its insides          REVISION + 1
#   functions were added      CURRENT + 1, REVISION 0, AGE + 1
#   the ABI was broken        CURRENT + 1, REVISION 0, AGE 0: a new SONAME
#
# Until 1.0 the SONAME is libsoon.so.0, and a break counts as an addition; what
# a program was linked with is then told by the symbol version in lib/soon.map.
soon_version_info = 0:0:0

# Installed, shared and static. SOON_JEMALLOC counts only in the objects of the
# shared library: see "the allocator" in configure.ac.
lib_LTLIBRARIES += lib/libsoon.la
lib_libsoon_la_SOURCES = $(soon_sources)
lib_libsoon_la_CPPFLAGS = $(AM_CPPFLAGS) $(SOON_JEMALLOC_CPPFLAGS)
lib_libsoon_la_CFLAGS = $(AM_CFLAGS) $(SOON_LIB_CFLAGS)
lib_libsoon_la_LDFLAGS = \
	$(AM_LDFLAGS) $(SOON_LIB_LDFLAGS) \
	-version-info $(soon_version_info) \
	-Wl,--version-script=$(top_srcdir)/lib/soon.map \
	$(SOON_JEMALLOC_LDFLAGS)
EXTRA_lib_libsoon_la_DEPENDENCIES = lib/soon.map

# For the tests: the same sources with every internal symbol within reach and
# failures to inject, always over libc's malloc, which valgrind understands.
# libtool's -static leaves out the objects for a shared library.
check_LTLIBRARIES += lib/libsoon-test.la
lib_libsoon_test_la_SOURCES = $(soon_sources)
# Tasks of the tests are quick on slow machines, too: see thread_pool/runner.c.
lib_libsoon_test_la_CPPFLAGS = $(AM_CPPFLAGS) -DSOON_INJECT=1 -DSOON__QUICK_NS=20000
lib_libsoon_test_la_CFLAGS = $(AM_CFLAGS) -static
