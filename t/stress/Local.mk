# SPDX-License-Identifier: MIT
#
# Programs that race for about two seconds each, SOON_STRESS=N times as long on
# request, over the library that is installed. Each prints a line with PASS, or
# where it saw a violation; see stress.h.

stress_programs = \
	t/stress/submit \
	t/stress/cancel \
	t/stress/as_completed \
	t/stress/shutdown \
	t/stress/timeout \
	t/stress/nested \
	t/stress/idle \
	t/stress/fork \
	t/stress/kill_storm \
	t/stress/replace

check_PROGRAMS += $(stress_programs)
TESTS += $(stress_programs)
check_LTLIBRARIES += t/stress/libstress.la

stress_ldadd = $(sanitizer_ldadd) t/stress/libstress.la lib/libsoon.la

t_stress_libstress_la_SOURCES = t/stress/stress.h t/stress/stress.c
t_stress_submit_SOURCES = t/stress/submit.c
t_stress_submit_LDADD = $(stress_ldadd)
t_stress_cancel_SOURCES = t/stress/cancel.c
t_stress_cancel_LDADD = $(stress_ldadd)
t_stress_as_completed_SOURCES = t/stress/as_completed.c
t_stress_as_completed_LDADD = $(stress_ldadd)
t_stress_shutdown_SOURCES = t/stress/shutdown.c
t_stress_shutdown_LDADD = $(stress_ldadd)
t_stress_timeout_SOURCES = t/stress/timeout.c
t_stress_timeout_LDADD = $(stress_ldadd)
t_stress_nested_SOURCES = t/stress/nested.c
t_stress_nested_LDADD = $(stress_ldadd)
t_stress_idle_SOURCES = t/stress/idle.c
t_stress_idle_LDADD = $(stress_ldadd)
t_stress_fork_SOURCES = t/stress/fork.c
t_stress_fork_LDADD = $(stress_ldadd)
t_stress_kill_storm_SOURCES = t/stress/kill_storm.c
t_stress_kill_storm_LDADD = $(stress_ldadd)
t_stress_replace_SOURCES = t/stress/replace.c
t_stress_replace_LDADD = $(stress_ldadd)
