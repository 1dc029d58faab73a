# SPDX-License-Identifier: MIT

# One page for each group of calls. The files in doc/links are one-line `.so`
# links, so that every public function has a page under its own name; they
# stand apart because mandoc's linter objects to them on principle.
dist_man_MANS += \
	doc/links/soon_as_completed_add.3 \
	doc/links/soon_as_completed_fd.3 \
	doc/links/soon_as_completed_free.3 \
	doc/links/soon_as_completed_next.3 \
	doc/links/soon_call_progress.3 \
	doc/links/soon_callbacks_due.3 \
	doc/links/soon_callbacks_put.3 \
	doc/links/soon_callbacks_resume.3 \
	doc/links/soon_callbacks_take.3 \
	doc/links/soon_executor_backend.3 \
	doc/links/soon_executor_break.3 \
	doc/links/soon_executor_break_because.3 \
	doc/links/soon_executor_drain.3 \
	doc/links/soon_executor_fini.3 \
	doc/links/soon_executor_hold.3 \
	doc/links/soon_executor_inherited.3 \
	doc/links/soon_executor_ref.3 \
	doc/links/soon_executor_release.3 \
	doc/links/soon_executor_unref.3 \
	doc/links/soon_fail.3 \
	doc/links/soon_flush_callbacks.3 \
	doc/links/soon_future_add_done_callback_on.3 \
	doc/links/soon_future_cancelled.3 \
	doc/links/soon_future_claim.3 \
	doc/links/soon_future_deliver.3 \
	doc/links/soon_future_done.3 \
	doc/links/soon_future_error.3 \
	doc/links/soon_future_kill.3 \
	doc/links/soon_future_manner.3 \
	doc/links/soon_future_next.3 \
	doc/links/soon_future_place.3 \
	doc/links/soon_future_remove_done_callback.3 \
	doc/links/soon_future_result.3 \
	doc/links/soon_future_run_claimed.3 \
	doc/links/soon_future_running.3 \
	doc/links/soon_future_set_error.3 \
	doc/links/soon_future_set_failure.3 \
	doc/links/soon_future_set_place.3 \
	doc/links/soon_future_set_progress.3 \
	doc/links/soon_future_set_result.3 \
	doc/links/soon_future_set_running_or_notify_cancel.3 \
	doc/links/soon_future_task.3 \
	doc/links/soon_future_unclaimed.3 \
	doc/links/soon_future_unref.3 \
	doc/links/soon_future_value.3 \
	doc/links/soon_imap_error.3 \
	doc/links/soon_imap_free.3 \
	doc/links/soon_imap_next.3 \
	doc/links/soon_loop_fd.3 \
	doc/links/soon_loop_run.3 \
	doc/links/soon_process_pool_kill_workers.3 \
	doc/links/soon_process_pool_new.3 \
	doc/links/soon_process_pool_terminate_workers.3 \
	doc/links/soon_register.3 \
	doc/links/soon_return_buffer.3 \
	doc/links/soon_set_last_error.3 \
	doc/links/soon_submit_many.3 \
	doc/links/soon_submit_task.3 \
	doc/links/soon_task_queue_pop.3 \
	doc/links/soon_task_queue_pop_chain.3 \
	doc/links/soon_task_queue_return.3 \
	doc/links/soon_task_queue_sweep.3 \
	doc/links/soon_worker_call.3 \
	doc/links/soon_worker_leave.3 \
	doc/soon.7 \
	doc/soon_as_completed_new.3 \
	doc/soon_backend.7 \
	doc/soon_call_cancelled.3 \
	doc/soon_callbacks_defer.3 \
	doc/soon_executor_init.3 \
	doc/soon_executor_stats.3 \
	doc/soon_fork.7 \
	doc/soon_future_add_done_callback.3 \
	doc/soon_future_cancel.3 \
	doc/soon_future_lend.3 \
	doc/soon_future_new.3 \
	doc/soon_future_progress.3 \
	doc/soon_future_ref.3 \
	doc/soon_future_run.3 \
	doc/soon_future_state.3 \
	doc/soon_future_wait.3 \
	doc/soon_imap_new.3 \
	doc/soon_init.3 \
	doc/soon_inline_new.3 \
	doc/soon_last_error.3 \
	doc/soon_loop_new.3 \
	doc/soon_map.3 \
	doc/soon_memory_model.7 \
	doc/soon_port_call.3 \
	doc/soon_process_pool.3 \
	doc/soon_return.3 \
	doc/soon_shutdown.3 \
	doc/soon_submit.3 \
	doc/soon_task_queue_push.3 \
	doc/soon_thread_pool_new.3 \
	doc/soon_version.3 \
	doc/soon_wait.3 \
	doc/soon_worker_enter.3

EXTRA_DIST += \
	doc/contract.md \
	doc/design.md \
	doc/semantics.md

# The documents are tested: t/docs/pages.sh compares the pages with the headers,
# t/docs/programs.sh builds and runs every program shown, t/docs/map.sh checks
# the map of the house.
docs_tests = \
	t/docs/pages.sh \
	t/docs/map.sh \
	t/docs/programs.sh

TESTS += $(docs_tests)
check_SCRIPTS += $(docs_tests)
EXTRA_DIST += \
	$(docs_tests) \
	t/docs/declarations.awk \
	t/docs/page.awk \
	t/docs/programs.awk
