# SPDX-License-Identifier: MIT
#
# One Check program per module, named after it. All of them are linked with
# the test build of the library, which has its internal symbols and can be
# told to fail; t/gates and t/examples use the one that is installed.

t_programs = \
	t/test_lock \
	t/test_cpus \
	t/test_thread \
	t/test_task_queue \
	t/test_future \
	t/test_future_cache \
	t/test_join \
	t/test_runner \
	t/test_barrier \
	t/test_reserve \
	t/test_woken \
	t/test_patience \
	t/test_backlog \
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
	t/test_backend_future \
	t/test_remote \
	t/test_function \
	t/test_timeout \
	t/test_deadlock \
	t/test_alloc \
	t/test_fork \
	t/test_process \
	t/test_nursery \
	t/test_process_pool \
	t/test_process_inside \
	t/test_process_workers \
	t/test_process_crash \
	t/test_process_broken \
	t/test_process_timeout \
	t/test_process_kill \
	t/test_process_rights \
	t/test_process_queue \
	t/test_process_asleep \
	t/test_process_patience \
	t/test_process_end \
	t/test_process_payload \
	t/test_process_lent \
	t/test_process_store \
	t/test_process_host \
	t/test_process_fork \
	t/test_process_orphans \
	t/test_process_hostile \
	t/test_process_lies \
	t/test_process_descriptors \
	t/test_process_spawn \
	t/test_process_alloc \
	t/test_regressions

# The library is never linked: a program takes the object, to which nothing in
# it refers. Not a check_ library: `make` builds the examples, which have it too.
if SANITIZE
noinst_LTLIBRARIES += t/libsanitizer.la
t_libsanitizer_la_SOURCES = t/sanitizer.c
endif

if HAVE_CHECK

check_LTLIBRARIES += t/libsupport.la
check_PROGRAMS += $(t_programs) t/forgetful
TESTS += $(t_programs)

# AM_CPPFLAGS leads to lib/: the tests look inside.
t_cppflags = $(AM_CPPFLAGS) -DSOON_INJECT=1
t_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
t_ldadd = $(sanitizer_ldadd) t/libsupport.la lib/libsoon-test.la $(CHECK_LIBS)

t_libsupport_la_SOURCES = t/support.h t/support.c t/tasks.c t/shared.c \
	t/leftovers.h t/leftovers.c t/process_pool.h t/process_pool.c \
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

t_test_thread_SOURCES = t/test_thread.c
t_test_thread_CPPFLAGS = $(t_cppflags)
t_test_thread_CFLAGS = $(t_cflags)
t_test_thread_LDADD = $(t_ldadd)

t_test_task_queue_SOURCES = t/test_task_queue.c
t_test_task_queue_CPPFLAGS = $(t_cppflags)
t_test_task_queue_CFLAGS = $(t_cflags)
t_test_task_queue_LDADD = $(t_ldadd)

t_test_future_SOURCES = t/test_future.c
t_test_future_CPPFLAGS = $(t_cppflags)
t_test_future_CFLAGS = $(t_cflags)
t_test_future_LDADD = $(t_ldadd)

t_test_backlog_SOURCES = t/test_backlog.c
t_test_backlog_CPPFLAGS = $(t_cppflags)
t_test_backlog_CFLAGS = $(t_cflags)
t_test_backlog_LDADD = $(t_ldadd)

t_test_patience_SOURCES = t/test_patience.c
t_test_patience_CPPFLAGS = $(t_cppflags)
t_test_patience_CFLAGS = $(t_cflags)
t_test_patience_LDADD = $(t_ldadd)

t_test_future_cache_SOURCES = t/test_future_cache.c
t_test_future_cache_CPPFLAGS = $(t_cppflags)
t_test_future_cache_CFLAGS = $(t_cflags)
t_test_future_cache_LDADD = $(t_ldadd)

t_test_join_SOURCES = t/test_join.c
t_test_join_CPPFLAGS = $(t_cppflags)
t_test_join_CFLAGS = $(t_cflags)
t_test_join_LDADD = $(t_ldadd)

t_test_runner_SOURCES = t/test_runner.c
t_test_runner_CPPFLAGS = $(t_cppflags)
t_test_runner_CFLAGS = $(t_cflags)
t_test_runner_LDADD = $(t_ldadd)

t_test_barrier_SOURCES = t/test_barrier.c
t_test_barrier_CPPFLAGS = $(t_cppflags)
t_test_barrier_CFLAGS = $(t_cflags)
t_test_barrier_LDADD = $(t_ldadd)

t_test_reserve_SOURCES = t/test_reserve.c
t_test_reserve_CPPFLAGS = $(t_cppflags)
t_test_reserve_CFLAGS = $(t_cflags)
t_test_reserve_LDADD = $(t_ldadd)

t_test_woken_SOURCES = t/test_woken.c
t_test_woken_CPPFLAGS = $(t_cppflags)
t_test_woken_CFLAGS = $(t_cflags)
t_test_woken_LDADD = $(t_ldadd)

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

t_test_as_completed_SOURCES = t/test_as_completed.c t/as_completed_cases.h \
	t/as_completed_readers.c
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

t_test_backend_future_SOURCES = t/test_backend_future.c t/desk.h t/desk.c
t_test_backend_future_CPPFLAGS = $(t_cppflags)
t_test_backend_future_CFLAGS = $(t_cflags)
t_test_backend_future_LDADD = $(t_ldadd)

t_test_remote_SOURCES = t/test_remote.c t/remote_cases.h t/remote_answer.c \
	t/remote_submit.c t/remote_call.c t/remote_map.c t/remote_race.c t/far.h t/far.c
t_test_remote_CPPFLAGS = $(t_cppflags)
t_test_remote_CFLAGS = $(t_cflags)
t_test_remote_LDADD = $(t_ldadd)

t_test_function_SOURCES = t/test_function.c t/function_cases.h \
	t/function_loading.c t/function_elsewhere.c
t_test_function_CPPFLAGS = $(t_cppflags)
t_test_function_CFLAGS = $(t_cflags)
t_test_function_LDADD = $(t_ldadd)
EXTRA_t_test_function_DEPENDENCIES = $(t_function_libraries)

# Libraries that test_function loads and unloads, looked for beside the program.
# Not libtool's: each is one plain file, and the linker's options count.
t_function_libraries = \
	t/function_one.so \
	t/function_two.so \
	t/function_bare_one.so \
	t/function_bare_two.so

t_function_link = $(AM_V_CCLD)$(MKDIR_P) t && $(CC) $(t_cppflags) $(CPPFLAGS) \
	$(t_cflags) $(CFLAGS) -fPIC -shared $(AM_LDFLAGS) $(LDFLAGS) -o $@ \
	$(srcdir)/t/function_library.c

t/function_one.so: t/function_library.c
	$(t_function_link) -DNUMBER=41 -Wl,--build-id
t/function_two.so: t/function_library.c
	$(t_function_link) -DNUMBER=42 -Wl,--build-id
t/function_bare_one.so: t/function_library.c
	$(t_function_link) -DNUMBER=41 -Wl,--build-id=none
t/function_bare_two.so: t/function_library.c
	$(t_function_link) -DNUMBER=42 -Wl,--build-id=none

CLEANFILES += $(t_function_libraries)
EXTRA_DIST += t/function_library.c

t_test_timeout_SOURCES = t/test_timeout.c
t_test_timeout_CPPFLAGS = $(t_cppflags)
t_test_timeout_CFLAGS = $(t_cflags)
t_test_timeout_LDADD = $(t_ldadd)

t_test_deadlock_SOURCES = t/test_deadlock.c t/deadlock_cases.h \
	t/deadlock_cycles.c t/deadlock_waits.c
t_test_deadlock_CPPFLAGS = $(t_cppflags)
t_test_deadlock_CFLAGS = $(t_cflags)
t_test_deadlock_LDADD = $(t_ldadd)

t_test_alloc_SOURCES = t/test_alloc.c t/alloc_ops.h t/alloc_ops.c
t_test_alloc_CPPFLAGS = $(t_cppflags)
t_test_alloc_CFLAGS = $(t_cflags)
t_test_alloc_LDADD = $(t_ldadd)

t_test_fork_SOURCES = t/test_fork.c
t_test_fork_CPPFLAGS = $(t_cppflags)
t_test_fork_CFLAGS = $(t_cflags)
t_test_fork_LDADD = $(t_ldadd)

t_test_process_SOURCES = t/test_process.c t/process_cases.h \
	t/process_twin.c t/process_shm.c t/process_packet.c
t_test_process_CPPFLAGS = $(t_cppflags)
t_test_process_CFLAGS = $(t_cflags)
t_test_process_LDADD = $(t_ldadd)

t_test_nursery_SOURCES = t/test_nursery.c t/nursery_cases.h \
	t/nursery_host.c t/nursery_trouble.c t/puppet.h t/puppet.c
t_test_nursery_CPPFLAGS = $(t_cppflags)
t_test_nursery_CFLAGS = $(t_cflags)
t_test_nursery_LDADD = $(t_ldadd)

t_test_process_pool_SOURCES = t/test_process_pool.c
t_test_process_pool_CPPFLAGS = $(t_cppflags)
t_test_process_pool_CFLAGS = $(t_cflags)
t_test_process_pool_LDADD = $(t_ldadd)

t_test_process_inside_SOURCES = t/test_process_inside.c
t_test_process_inside_CPPFLAGS = $(t_cppflags)
t_test_process_inside_CFLAGS = $(t_cflags)
t_test_process_inside_LDADD = $(t_ldadd)

t_test_process_workers_SOURCES = t/test_process_workers.c
t_test_process_workers_CPPFLAGS = $(t_cppflags)
t_test_process_workers_CFLAGS = $(t_cflags)
t_test_process_workers_LDADD = $(t_ldadd)

t_test_process_crash_SOURCES = t/test_process_crash.c
t_test_process_crash_CPPFLAGS = $(t_cppflags)
t_test_process_crash_CFLAGS = $(t_cflags)
t_test_process_crash_LDADD = $(t_ldadd)

t_test_process_broken_SOURCES = t/test_process_broken.c
t_test_process_broken_CPPFLAGS = $(t_cppflags)
t_test_process_broken_CFLAGS = $(t_cflags)
t_test_process_broken_LDADD = $(t_ldadd)

t_test_process_timeout_SOURCES = t/test_process_timeout.c
t_test_process_timeout_CPPFLAGS = $(t_cppflags)
t_test_process_timeout_CFLAGS = $(t_cflags)
t_test_process_timeout_LDADD = $(t_ldadd)

t_test_process_kill_SOURCES = t/test_process_kill.c
t_test_process_kill_CPPFLAGS = $(t_cppflags)
t_test_process_kill_CFLAGS = $(t_cflags)
t_test_process_kill_LDADD = $(t_ldadd)

t_test_process_rights_SOURCES = t/test_process_rights.c
t_test_process_rights_CPPFLAGS = $(t_cppflags)
t_test_process_rights_CFLAGS = $(t_cflags)
t_test_process_rights_LDADD = $(t_ldadd)

t_test_process_queue_SOURCES = t/test_process_queue.c
t_test_process_queue_CPPFLAGS = $(t_cppflags)
t_test_process_queue_CFLAGS = $(t_cflags)
t_test_process_queue_LDADD = $(t_ldadd)

t_test_process_asleep_SOURCES = t/test_process_asleep.c
t_test_process_asleep_CPPFLAGS = $(t_cppflags)
t_test_process_asleep_CFLAGS = $(t_cflags)
t_test_process_asleep_LDADD = $(t_ldadd)

t_test_process_patience_SOURCES = t/test_process_patience.c
t_test_process_patience_CPPFLAGS = $(t_cppflags)
t_test_process_patience_CFLAGS = $(t_cflags)
t_test_process_patience_LDADD = $(t_ldadd)

t_test_process_end_SOURCES = t/test_process_end.c
t_test_process_end_CPPFLAGS = $(t_cppflags)
t_test_process_end_CFLAGS = $(t_cflags)
t_test_process_end_LDADD = $(t_ldadd)

t_test_process_payload_SOURCES = t/test_process_payload.c t/payload.h t/payload.c
t_test_process_payload_CPPFLAGS = $(t_cppflags)
t_test_process_payload_CFLAGS = $(t_cflags)
t_test_process_payload_LDADD = $(t_ldadd)

t_test_process_store_SOURCES = t/test_process_store.c t/payload.h t/payload.c
t_test_process_store_CPPFLAGS = $(t_cppflags)
t_test_process_store_CFLAGS = $(t_cflags)
t_test_process_store_LDADD = $(t_ldadd)

t_test_process_lent_SOURCES = t/test_process_lent.c t/payload.h t/payload.c
t_test_process_lent_CPPFLAGS = $(t_cppflags)
t_test_process_lent_CFLAGS = $(t_cflags)
t_test_process_lent_LDADD = $(t_ldadd)

t_test_process_host_SOURCES = t/test_process_host.c
t_test_process_host_CPPFLAGS = $(t_cppflags)
t_test_process_host_CFLAGS = $(t_cflags)
t_test_process_host_LDADD = $(t_ldadd)

t_test_process_fork_SOURCES = t/test_process_fork.c
t_test_process_fork_CPPFLAGS = $(t_cppflags)
t_test_process_fork_CFLAGS = $(t_cflags)
t_test_process_fork_LDADD = $(t_ldadd)

t_test_process_orphans_SOURCES = t/test_process_orphans.c
t_test_process_orphans_CPPFLAGS = $(t_cppflags)
t_test_process_orphans_CFLAGS = $(t_cflags)
t_test_process_orphans_LDADD = $(t_ldadd)

t_test_process_hostile_SOURCES = t/test_process_hostile.c t/hostile.h t/hostile.c
t_test_process_hostile_CPPFLAGS = $(t_cppflags)
t_test_process_hostile_CFLAGS = $(t_cflags)
t_test_process_hostile_LDADD = $(t_ldadd)

t_test_process_lies_SOURCES = t/test_process_lies.c t/hostile.h t/hostile.c
t_test_process_lies_CPPFLAGS = $(t_cppflags)
t_test_process_lies_CFLAGS = $(t_cflags)
t_test_process_lies_LDADD = $(t_ldadd)

t_test_process_descriptors_SOURCES = t/test_process_descriptors.c
t_test_process_descriptors_CPPFLAGS = $(t_cppflags)
t_test_process_descriptors_CFLAGS = $(t_cflags)
t_test_process_descriptors_LDADD = $(t_ldadd)

t_test_process_spawn_SOURCES = t/test_process_spawn.c
t_test_process_spawn_CPPFLAGS = $(t_cppflags)
t_test_process_spawn_CFLAGS = $(t_cflags)
t_test_process_spawn_LDADD = $(t_ldadd)

t_test_process_alloc_SOURCES = t/test_process_alloc.c
t_test_process_alloc_CPPFLAGS = $(t_cppflags)
t_test_process_alloc_CFLAGS = $(t_cflags)
t_test_process_alloc_LDADD = $(t_ldadd)

# Run by test_process_spawn, which finds it beside itself.
t_forgetful_SOURCES = t/forgetful.c
t_forgetful_CPPFLAGS = $(t_cppflags)
t_forgetful_CFLAGS = $(t_cflags)
t_forgetful_LDADD = $(sanitizer_ldadd) lib/libsoon-test.la

t_test_regressions_SOURCES = t/test_regressions.c t/regressions.h \
	t/regressions_core.c t/regressions_map.c t/regressions_order.c
t_test_regressions_CPPFLAGS = $(t_cppflags)
t_test_regressions_CFLAGS = $(t_cflags)
t_test_regressions_LDADD = $(t_ldadd)

endif
