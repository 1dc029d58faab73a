# SPDX-License-Identifier: MIT
#
# The lock-free protocols, model-checked by relacy: see model.h. A model is
# linked with objects of its own of the sources it is about, which are compiled
# against shim/stdatomic.h and, but for the lock's own model, locks/os/lock.h.
# Whatever else they call comes from the test library and is not looked at.

if HAVE_RELACY

t_models = \
	t/model/deque \
	t/model/inbox \
	t/model/parking \
	t/model/ending \
	t/model/state \
	t/model/lock \
	t/model/channel

check_LTLIBRARIES += t/model/libengine.la t/model/libengine4.la
check_PROGRAMS += $(t_models)
TESTS += $(t_models)

t_model_libengine_la_SOURCES = t/model/model.h t/model/relacy.h t/model/engine.cc
t_model_libengine_la_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17 -Wall -Wextra

# The same for a model of four threads.
t_model_libengine4_la_SOURCES = $(t_model_libengine_la_SOURCES)
t_model_libengine4_la_CPPFLAGS = -DMODEL_THREADS=4 $(AM_CPPFLAGS)
t_model_libengine4_la_CXXFLAGS = $(t_model_libengine_la_CXXFLAGS)

t_model_shim = t/model/shim/stdatomic.h t/model/model.h t/model/os.c
t_model_cppflags = -I$(top_srcdir)/t/model/shim -I$(top_srcdir) -DSOON__DEQUE_SIZE=2 -DSPIN_SLICES=1 \
	-DSOON__QUICK_TASKS=1 -DSOON__PAIRED=0 -DSOON__SWIFT_AFTER=model_swift_after \
	-DSOON__INBOX_SIZE=2 -DSOON__BEFORE_UPDATE=memory_order_release -Dsched_getcpu=model_cpu
t_model_locks = -I$(top_srcdir)/t/model/locks
t_model_ldadd = t/model/libengine.la lib/libsoon-test.la

# Sources that do not exist, which make automake link with the C++ compiler.
nodist_EXTRA_t_model_deque_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_inbox_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_parking_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_ending_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_state_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_lock_SOURCES = t/model/c++.cc
nodist_EXTRA_t_model_channel_SOURCES = t/model/c++.cc

t_model_deque_SOURCES = $(t_model_shim) t/model/deque.c
t_model_deque_CPPFLAGS = $(t_model_cppflags) $(t_model_locks) $(AM_CPPFLAGS)
t_model_deque_LDADD = $(t_model_ldadd)

t_model_inbox_SOURCES = $(t_model_shim) t/model/inbox.c
t_model_inbox_CPPFLAGS = $(t_model_cppflags) $(t_model_locks) $(AM_CPPFLAGS)
t_model_inbox_LDADD = $(t_model_ldadd)

t_model_stage = $(t_model_shim) t/model/locks/os/lock.h t/model/stage.c t/model/stage.h \
	lib/thread_pool/schedule.c lib/thread_pool/share.c \
	lib/thread_pool/runner.c lib/thread_pool/idle.c lib/thread_pool/flush.c \
	lib/thread_pool/backlog.c

t_model_parking_SOURCES = $(t_model_stage) t/model/parking.c
t_model_parking_CPPFLAGS = $(t_model_cppflags) $(t_model_locks) $(AM_CPPFLAGS)
t_model_parking_LDADD = $(t_model_ldadd)

t_model_ending_SOURCES = $(t_model_stage) t/model/ending.c
t_model_ending_CPPFLAGS = $(t_model_parking_CPPFLAGS)
t_model_ending_LDADD = $(t_model_ldadd)

t_model_state_SOURCES = $(t_model_shim) t/model/locks/os/lock.h t/model/state.c \
	lib/core/transition.c lib/core/callback.c
t_model_state_CPPFLAGS = $(t_model_cppflags) $(t_model_locks) $(AM_CPPFLAGS)
t_model_state_LDADD = $(t_model_ldadd)

t_model_lock_SOURCES = $(t_model_shim) t/model/lock.c lib/os/lock.c
t_model_lock_CPPFLAGS = $(t_model_cppflags) $(AM_CPPFLAGS)
t_model_lock_LDADD = $(t_model_ldadd)

# Nothing of the test library: all that the process pool stands on is the world's.
t_model_channel_SOURCES = t/model/shim/stdatomic.h t/model/model.h \
	t/model/locks/os/lock.h t/model/copies/string.h \
	t/model/channel.c \
	t/model/world.c \
	t/model/world.h \
	t/model/world_memory.c \
	t/model/world_os.c \
	lib/process_pool/assist.c \
	lib/process_pool/collect.c \
	lib/process_pool/death.c \
	lib/process_pool/dispatch.c \
	lib/process_pool/monitor.c \
	lib/process_pool/port.c \
	lib/process_pool/recall.c \
	lib/process_pool/seat.c \
	lib/process_pool/stuck.c \
	lib/process_pool/worker.c
t_model_channel_CPPFLAGS = -I$(top_srcdir)/t/model/copies $(t_model_cppflags) $(t_model_locks) \
	-DMODEL_THREADS=4 -DSOON__RING=2 -DSOON__REPORTS=2 -D_exit=world_exit $(AM_CPPFLAGS)
t_model_channel_LDADD = t/model/libengine4.la

endif
