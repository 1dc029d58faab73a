# SPDX-License-Identifier: MIT
#
# One Check program per module, named after it. All of them are linked with
# the test build of the library, which has its internal symbols and can be
# told to fail; t/gates and t/examples use the one that is installed.

t_programs = \
	t/test_lock \
	t/test_cpus \
	t/test_task_queue \
	t/test_future \
	t/test_result \
	t/test_callback \
	t/test_callback_nested \
	t/test_callback_on \
	t/test_call \
	t/test_wait \
	t/test_as_completed \
	t/test_executor \
	t/test_executor_tasks \
	t/test_shutdown \
	t/test_inline \
	t/test_loop \
	t/test_thread_pool \
	t/test_map \
	t/test_imap \
	t/test_imap_end \
	t/test_backend \
	t/test_timeout \
	t/test_deadlock \
	t/test_alloc \
	t/test_fork \
	t/test_regressions

if HAVE_CHECK

check_LTLIBRARIES += t/libsupport.la
check_PROGRAMS += $(t_programs)
TESTS += $(t_programs)

# AM_CPPFLAGS leads to lib/: the tests look inside.
t_cppflags = $(AM_CPPFLAGS) -DSOON_INJECT=1
t_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
t_ldadd = t/libsupport.la lib/libsoon-test.la $(CHECK_LIBS)

t_libsupport_la_SOURCES = t/support.h t/support.c t/tasks.c \
	t/backends.h t/backends.c t/custom_backend.c
t_libsupport_la_CPPFLAGS = $(t_cppflags)
t_libsupport_la_CFLAGS = $(t_cflags)

t_test_lock_SOURCES = t/test_lock.c
t_test_lock_CPPFLAGS = $(t_cppflags)
t_test_lock_CFLAGS = $(t_cflags)
t_test_lock_LDADD = $(t_ldadd)

t_test_cpus_SOURCES = t/test_cpus.c
t_test_cpus_CPPFLAGS = $(t_cppflags)
t_test_cpus_CFLAGS = $(t_cflags)
t_test_cpus_LDADD = $(t_ldadd)

t_test_task_queue_SOURCES = t/test_task_queue.c
t_test_task_queue_CPPFLAGS = $(t_cppflags)
t_test_task_queue_CFLAGS = $(t_cflags)
t_test_task_queue_LDADD = $(t_ldadd)

t_test_future_SOURCES = t/test_future.c
t_test_future_CPPFLAGS = $(t_cppflags)
t_test_future_CFLAGS = $(t_cflags)
t_test_future_LDADD = $(t_ldadd)

t_test_result_SOURCES = t/test_result.c
t_test_result_CPPFLAGS = $(t_cppflags)
t_test_result_CFLAGS = $(t_cflags)
t_test_result_LDADD = $(t_ldadd)

t_test_callback_SOURCES = t/test_callback.c t/trace.h t/trace.c
t_test_callback_CPPFLAGS = $(t_cppflags)
t_test_callback_CFLAGS = $(t_cflags)
t_test_callback_LDADD = $(t_ldadd)

t_test_callback_nested_SOURCES = t/test_callback_nested.c t/trace.h t/trace.c
t_test_callback_nested_CPPFLAGS = $(t_cppflags)
t_test_callback_nested_CFLAGS = $(t_cflags)
t_test_callback_nested_LDADD = $(t_ldadd)

t_test_callback_on_SOURCES = t/test_callback_on.c
t_test_callback_on_CPPFLAGS = $(t_cppflags)
t_test_callback_on_CFLAGS = $(t_cflags)
t_test_callback_on_LDADD = $(t_ldadd)

t_test_call_SOURCES = t/test_call.c
t_test_call_CPPFLAGS = $(t_cppflags)
t_test_call_CFLAGS = $(t_cflags)
t_test_call_LDADD = $(t_ldadd)

t_test_wait_SOURCES = t/test_wait.c
t_test_wait_CPPFLAGS = $(t_cppflags)
t_test_wait_CFLAGS = $(t_cflags)
t_test_wait_LDADD = $(t_ldadd)

t_test_as_completed_SOURCES = t/test_as_completed.c
t_test_as_completed_CPPFLAGS = $(t_cppflags)
t_test_as_completed_CFLAGS = $(t_cflags)
t_test_as_completed_LDADD = $(t_ldadd)

t_test_executor_SOURCES = t/test_executor.c
t_test_executor_CPPFLAGS = $(t_cppflags)
t_test_executor_CFLAGS = $(t_cflags)
t_test_executor_LDADD = $(t_ldadd)

t_test_executor_tasks_SOURCES = t/test_executor_tasks.c
t_test_executor_tasks_CPPFLAGS = $(t_cppflags)
t_test_executor_tasks_CFLAGS = $(t_cflags)
t_test_executor_tasks_LDADD = $(t_ldadd)

t_test_shutdown_SOURCES = t/test_shutdown.c
t_test_shutdown_CPPFLAGS = $(t_cppflags)
t_test_shutdown_CFLAGS = $(t_cflags)
t_test_shutdown_LDADD = $(t_ldadd)

t_test_inline_SOURCES = t/test_inline.c
t_test_inline_CPPFLAGS = $(t_cppflags)
t_test_inline_CFLAGS = $(t_cflags)
t_test_inline_LDADD = $(t_ldadd)

t_test_loop_SOURCES = t/test_loop.c
t_test_loop_CPPFLAGS = $(t_cppflags)
t_test_loop_CFLAGS = $(t_cflags)
t_test_loop_LDADD = $(t_ldadd)

t_test_thread_pool_SOURCES = t/test_thread_pool.c t/thread_pool_cases.h \
	t/thread_pool_queue.c t/thread_pool_trouble.c
t_test_thread_pool_CPPFLAGS = $(t_cppflags)
t_test_thread_pool_CFLAGS = $(t_cflags)
t_test_thread_pool_LDADD = $(t_ldadd)

t_test_map_SOURCES = t/test_map.c
t_test_map_CPPFLAGS = $(t_cppflags)
t_test_map_CFLAGS = $(t_cflags)
t_test_map_LDADD = $(t_ldadd)

t_test_imap_SOURCES = t/test_imap.c
t_test_imap_CPPFLAGS = $(t_cppflags)
t_test_imap_CFLAGS = $(t_cflags)
t_test_imap_LDADD = $(t_ldadd)

t_test_imap_end_SOURCES = t/test_imap_end.c
t_test_imap_end_CPPFLAGS = $(t_cppflags)
t_test_imap_end_CFLAGS = $(t_cflags)
t_test_imap_end_LDADD = $(t_ldadd)

t_test_backend_SOURCES = t/test_backend.c t/desk.h t/desk.c
t_test_backend_CPPFLAGS = $(t_cppflags)
t_test_backend_CFLAGS = $(t_cflags)
t_test_backend_LDADD = $(t_ldadd)

t_test_timeout_SOURCES = t/test_timeout.c
t_test_timeout_CPPFLAGS = $(t_cppflags)
t_test_timeout_CFLAGS = $(t_cflags)
t_test_timeout_LDADD = $(t_ldadd)

t_test_deadlock_SOURCES = t/test_deadlock.c
t_test_deadlock_CPPFLAGS = $(t_cppflags)
t_test_deadlock_CFLAGS = $(t_cflags)
t_test_deadlock_LDADD = $(t_ldadd)

t_test_alloc_SOURCES = t/test_alloc.c
t_test_alloc_CPPFLAGS = $(t_cppflags)
t_test_alloc_CFLAGS = $(t_cflags)
t_test_alloc_LDADD = $(t_ldadd)

t_test_fork_SOURCES = t/test_fork.c
t_test_fork_CPPFLAGS = $(t_cppflags)
t_test_fork_CFLAGS = $(t_cflags)
t_test_fork_LDADD = $(t_ldadd)

t_test_regressions_SOURCES = t/test_regressions.c t/regressions.h \
	t/regressions_core.c t/regressions_map.c
t_test_regressions_CPPFLAGS = $(t_cppflags)
t_test_regressions_CFLAGS = $(t_cflags)
t_test_regressions_LDADD = $(t_ldadd)

endif
