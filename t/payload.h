/* SPDX-License-Identifier: MIT */
/*
 * Arguments and results of every size, whose bytes tell where they belong.
 */
#ifndef SOON_T_PAYLOAD_H
#define SOON_T_PAYLOAD_H

#include "process_pool.h"

enum { KiB = 1 << 10, MiB = 1 << 20 };

/* Sizes on both sides of each border that a payload may cross. */
enum { SIZES = 24 };
extern const size_t payload_sizes[SIZES];

/* Fills bytes with what goes with the seed; has it been? */
void paint(unsigned char *bytes, size_t len, unsigned seed);
bool is_painted(const unsigned char *bytes, size_t len, unsigned seed);

/* The future ends with len bytes of that. */
void assert_painted(soon_future *f, size_t len, unsigned seed);

/* A task whose result is len bytes that go with the seed, written in place or
 * returned. */
soon_future *submit_order(soon_executor *ex, size_t len, unsigned seed, bool in_place);

/* Bytes that go with their length; seed_of() is the seed then. The caller frees
 * them. */
unsigned char *painted(size_t len);
unsigned seed_of(size_t len);

/* Checks that its argument is painted(), and gives it back. */
int task_check_and_echo(soon_call *call, const void *arg, size_t arg_len);
soon_future *submit_painted(soon_executor *ex, size_t len);

#endif /* SOON_T_PAYLOAD_H */
