/* SPDX-License-Identifier: MIT */
/*
 * Messages arrive whole or not at all, descriptors with them, and whatever the
 * other side sends leaves no descriptor behind.
 */
#include "process_cases.h"

#include "os/inject.h"
#include "os/packet.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct note {
    uint64_t text;
};

static int ends[2];

static void open_ends(void)
{
    assert_ok(soon__packet_pair(ends));
}

static void close_ends(void)
{
    close_pair(ends);
}

static int send_note(int fd, uint64_t text, const int *fds, unsigned n)
{
    const struct note note = {text};

    return soon__packet_send(fd, &note, sizeof note, fds, n, false);
}

static int receive_note(int fd, uint64_t *text, int *fds, unsigned *n)
{
    struct note note = {0};
    int error = soon__packet_receive(fd, &note, sizeof note, fds, n, false);

    *text = note.text;
    return error;
}

static void assert_note(int fd, uint64_t text)
{
    uint64_t got;
    unsigned n = 0;

    assert_ok(receive_note(fd, &got, NULL, &n));
    ck_assert_uint_eq(got, text);
}

/* The only message in the socket is refused, and gone with its descriptors. */
static void assert_refused(int fd, unsigned room, int error)
{
    int fds[SOON__PACKET_FDS];
    uint64_t text;
    unsigned n = room, before = descriptor_count();

    ck_assert_int_eq(receive_note(fd, &text, fds, &n), error);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(descriptor_count(), before);
    n = room;
    ck_assert_int_eq(receive_note(fd, &text, fds, &n), -EAGAIN);
}

START_TEST(messages_keep_their_order_and_bounds)
{
    uint64_t text;
    unsigned n = 0;

    ck_assert_int_eq(receive_note(ends[1], &text, NULL, &n), -EAGAIN);
    for (uint64_t i = 0; i < 50; i++)
        assert_ok(send_note(ends[0], i, NULL, 0));
    for (uint64_t i = 0; i < 50; i++)
        assert_note(ends[1], i);
    ck_assert_int_eq(receive_note(ends[1], &text, NULL, &n), -EAGAIN);
}
END_TEST

START_TEST(descriptors_arrive_and_close_on_exec)
{
    int sent[SOON__PACKET_FDS], got[SOON__PACKET_FDS];
    uint64_t text, count;
    unsigned n = SOON__PACKET_FDS;

    for (unsigned i = 0; i < (unsigned)_i; i++)
        sent[i] = eventfd(i + 1, 0);
    assert_ok(send_note(ends[0], 5, sent, (unsigned)_i));
    assert_ok(receive_note(ends[1], &text, got, &n));
    ck_assert_uint_eq(n, (unsigned)_i);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_int_eq(fcntl(got[i], F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(read(got[i], &count, sizeof count), sizeof count);
        ck_assert_uint_eq(count, i + 1);
        close(got[i]);
        close(sent[i]);
    }
}
END_TEST

START_TEST(another_length_is_refused)
{
    char bytes[64] = "";
    int fd = eventfd(0, 0);
    static const size_t lengths[] = {1, sizeof(struct note) - 1, sizeof(struct note) + 1, 64};

    assert_ok(soon__packet_send(ends[0], bytes, lengths[_i], &fd, 1, false));
    assert_refused(ends[1], 1, -EBADMSG);
    close(fd);
}
END_TEST

START_TEST(more_descriptors_than_expected_are_refused)
{
    int fds[SOON__PACKET_FDS];

    for (unsigned room = 0; room < SOON__PACKET_FDS; room++)
        for (unsigned n = room + 1; n <= SOON__PACKET_FDS; n++) {
            for (unsigned i = 0; i < n; i++)
                fds[i] = eventfd(0, 0);
            assert_ok(send_note(ends[0], 1, fds, n));
            for (unsigned i = 0; i < n; i++)
                close(fds[i]);
            assert_refused(ends[1], room, -EBADMSG);
        }
}
END_TEST

/* More than any control buffer of ours has room for. */
START_TEST(a_flood_of_descriptors_is_refused)
{
    enum { FLOOD = 200 };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(FLOOD * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(FLOOD * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct note note = {1};
    struct iovec part = {&note, sizeof note};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    for (int i = 0; i < FLOOD; i++)
        memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof(int), &ends[0], sizeof(int));
    ck_assert_int_eq(sendmsg(ends[0], &message, 0), sizeof note);
    assert_refused(ends[1], SOON__PACKET_FDS, -EBADMSG);
}
END_TEST

START_TEST(a_full_table_of_descriptors_is_told_apart)
{
    struct rlimit before, none_left;
    int fds[3] = {ends[0], ends[0], ends[0]}, got[3];
    uint64_t text;
    unsigned n = 3;

    assert_ok(send_note(ends[0], 77, fds, 3));
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = dup(ends[0]);
    close(next);
    none_left = (struct rlimit){(rlim_t)(next + _i), before.rlim_max}; /* room for so many */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none_left) == 0);
    int error = receive_note(ends[1], &text, got, &n);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    ck_assert_int_eq(error, -EMFILE);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(text, 77);
}
END_TEST

START_TEST(a_full_socket_is_told_apart)
{
    uint64_t sent = 0;
    int error;

    while ((error = send_note(ends[0], sent, NULL, 0)) == 0)
        sent++;
    ck_assert_int_eq(error, -EAGAIN);
    ck_assert_uint_gt(sent, 0);
    for (uint64_t i = 0; i < sent; i++)
        assert_note(ends[1], i);
    assert_ok(send_note(ends[0], 0, NULL, 0));
}
END_TEST

START_TEST(whoever_is_gone_is_noticed)
{
    uint64_t text;
    unsigned n = 0;

    signal(SIGPIPE, SIG_DFL); /* which would end the test */
    close(ends[1]);
    ck_assert_int_eq(send_note(ends[0], 1, NULL, 0), -EPIPE);
    ck_assert_int_eq(receive_note(ends[0], &text, NULL, &n), -EPIPE);
    ends[1] = dup(ends[0]);
}
END_TEST

/* The kernel reports ECONNRESET then, ahead of what is there to be read. */
START_TEST(what_was_sent_before_an_end_is_received)
{
    uint64_t text;
    unsigned n = 0;

    assert_ok(send_note(ends[1], 1, NULL, 0));
    assert_ok(send_note(ends[1], 2, NULL, 0));
    if (_i)
        assert_ok(send_note(ends[0], 3, NULL, 0)); /* nobody will read it */
    close(ends[1]);
    assert_note(ends[0], 1);
    assert_note(ends[0], 2);
    ck_assert_int_eq(receive_note(ends[0], &text, NULL, &n), -EPIPE);
    ck_assert_int_eq(receive_note(ends[0], &text, NULL, &n), -EPIPE);
    ends[1] = dup(ends[0]);
}
END_TEST

START_TEST(an_end_reaches_copies_too)
{
    uint64_t text;
    unsigned n = 0;
    int copies[] = {dup(ends[0]), dup(ends[1])};

    assert_ok(send_note(ends[0], 9, NULL, 0));
    soon__packet_end(ends[0]);
    ck_assert_int_eq(send_note(copies[0], 1, NULL, 0), -EPIPE);
    ck_assert_int_eq(send_note(copies[1], 1, NULL, 0), -EPIPE);
    assert_note(copies[1], 9);
    ck_assert_int_eq(receive_note(copies[1], &text, NULL, &n), -EPIPE);
    close(copies[0]);
    close(copies[1]);
}
END_TEST

START_TEST(an_empty_message_ends_the_talk)
{
    uint64_t text;
    unsigned n = 0;

    ck_assert_int_eq(send(ends[0], "", 0, 0), 0);
    ck_assert_int_eq(receive_note(ends[1], &text, NULL, &n), -EPIPE);
}
END_TEST

static void send_later(void *data)
{
    const struct note note = {4711};

    (void)data;
    assert_ok(soon__packet_send(ends[0], &note, sizeof note, NULL, 0, true));
}

START_TEST(a_receiver_may_wait)
{
    struct thread sender;
    struct note note;
    unsigned n = 0;

    thread_start(&sender, send_later, NULL);
    assert_ok(soon__packet_receive(ends[1], &note, sizeof note, NULL, &n, true));
    ck_assert_uint_eq(note.text, 4711);
    thread_join(&sender);
}
END_TEST

static void send_until_the_end(void *data)
{
    const struct note note = {0};
    int *error = data;

    while ((*error = soon__packet_send(ends[0], &note, sizeof note, NULL, 0, true)) == 0)
        ;
}

START_TEST(an_end_wakes_a_sender)
{
    struct thread sender;
    int error = 0;

    thread_start(&sender, send_until_the_end, &error);
    thread_await_sleep(&sender);
    soon__packet_end(ends[1]);
    thread_join(&sender);
    ck_assert_int_eq(error, -EPIPE);
}
END_TEST

START_TEST(errno_and_failures)
{
    uint64_t text;
    unsigned n = 0;
    int fds[2];

    errno = 4711;
    receive_note(ends[0], &text, NULL, &n);
    assert_ok(send_note(ends[0], 1, NULL, 0));
    ck_assert_int_eq(send_note(ends[0], 1, &(int){-1}, 1), -EBADF);
    soon__packet_end(ends[0]);
    ck_assert_int_eq(errno, 4711);
    soon__inject_after(SOON__INJECT_SOCKET, 1);
    ck_assert_int_eq(soon__packet_pair(fds), -EMFILE);
}
END_TEST

void add_packet_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "packets");

    tcase_add_checked_fixture(tc, open_ends, close_ends);
    tcase_add_test(tc, messages_keep_their_order_and_bounds);
    tcase_add_loop_test(tc, descriptors_arrive_and_close_on_exec, 0, SOON__PACKET_FDS + 1);
    tcase_add_loop_test(tc, another_length_is_refused, 0, 4);
    tcase_add_test(tc, more_descriptors_than_expected_are_refused);
    tcase_add_test(tc, a_flood_of_descriptors_is_refused);
    if (RUNNING_ON_VALGRIND)
        fprintf(stderr, "process: full tables are skipped: valgrind sets no RLIMIT_NOFILE\n");
    else
        tcase_add_loop_test(tc, a_full_table_of_descriptors_is_told_apart, 0, 3);
    tcase_add_test(tc, a_full_socket_is_told_apart);
    tcase_add_test(tc, whoever_is_gone_is_noticed);
    tcase_add_loop_test(tc, what_was_sent_before_an_end_is_received, 0, 2);
    tcase_add_test(tc, an_end_reaches_copies_too);
    tcase_add_test(tc, an_empty_message_ends_the_talk);
    tcase_add_test(tc, a_receiver_may_wait);
    tcase_add_test(tc, an_end_wakes_a_sender);
    tcase_add_test(tc, errno_and_failures);
}
