# SPDX-License-Identifier: MIT
#
# Programs that show the library at work, not installed. They see only the
# public headers. Each has a test in t/examples that runs it and verifies what
# it says; the test of one that was not built for want of a library is skipped.

examples_cppflags = -I$(top_srcdir)/include -D_GNU_SOURCE $(SOON_CPPFLAGS)
examples_ldadd = $(sanitizer_ldadd) lib/libsoon.la
examples_pool = examples/pool.c examples/pool.h

noinst_PROGRAMS += \
	examples/backend \
	examples/balance \
	examples/counter \
	examples/countdown \
	examples/epoll_loop

examples_backend_SOURCES = examples/backend.c examples/backend.h \
	examples/backend_lifo.c examples/backend_stack.c
examples_backend_CPPFLAGS = $(examples_cppflags)
examples_backend_LDADD = $(examples_ldadd)

examples_balance_SOURCES = examples/balance.c
examples_balance_CPPFLAGS = $(examples_cppflags)
examples_balance_LDADD = $(examples_ldadd)

examples_counter_SOURCES = examples/counter.c $(examples_pool)
examples_counter_CPPFLAGS = $(examples_cppflags)
examples_counter_LDADD = $(examples_ldadd)

examples_countdown_SOURCES = examples/countdown.c $(examples_pool)
examples_countdown_CPPFLAGS = $(examples_cppflags)
examples_countdown_LDADD = $(examples_ldadd)

examples_epoll_loop_SOURCES = examples/epoll_loop.c $(examples_pool)
examples_epoll_loop_CPPFLAGS = $(examples_cppflags)
examples_epoll_loop_LDADD = $(examples_ldadd)

if HAVE_OPENSSL
noinst_PROGRAMS += examples/checksum
examples_checksum_SOURCES = examples/checksum.c examples/checksum.h \
	examples/checksum_report.c examples/checksum_tree.c $(examples_pool)
examples_checksum_CPPFLAGS = $(examples_cppflags)
examples_checksum_CFLAGS = $(AM_CFLAGS) $(OPENSSL_CFLAGS)
examples_checksum_LDADD = $(examples_ldadd) $(OPENSSL_LIBS)
endif

if HAVE_ZLIB
noinst_PROGRAMS += examples/crashproof examples/pack
examples_crashproof_SOURCES = examples/crashproof.c examples/crashproof.h \
	examples/crashproof_gunzip.c $(examples_pool)
examples_crashproof_CPPFLAGS = $(examples_cppflags)
examples_crashproof_CFLAGS = $(AM_CFLAGS) $(ZLIB_CFLAGS)
examples_crashproof_LDADD = $(examples_ldadd) $(ZLIB_LIBS)

examples_pack_SOURCES = examples/pack.c $(examples_pool)
examples_pack_CPPFLAGS = $(examples_cppflags)
examples_pack_CFLAGS = $(AM_CFLAGS) $(ZLIB_CFLAGS)
examples_pack_LDADD = $(examples_ldadd) $(ZLIB_LIBS)
endif

if HAVE_CURL
noinst_PROGRAMS += examples/crawl
examples_crawl_SOURCES = examples/crawl.c
examples_crawl_CPPFLAGS = $(examples_cppflags)
examples_crawl_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
examples_crawl_LDADD = $(examples_ldadd) $(CURL_LIBS)

check_PROGRAMS += t/examples/http_server
t_examples_http_server_SOURCES = t/examples/http_server.c
t_examples_http_server_CPPFLAGS = $(examples_cppflags)
endif

examples_tests = \
	t/examples/checksum.sh \
	t/examples/pack.sh \
	t/examples/crawl.sh \
	t/examples/crashproof.sh \
	t/examples/counter.sh \
	t/examples/balance.sh \
	t/examples/countdown.sh \
	t/examples/epoll_loop.sh \
	t/examples/backend.sh

TESTS += $(examples_tests)
EXTRA_DIST += $(examples_tests) t/examples/common.sh tools/demo
