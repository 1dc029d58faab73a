/* SPDX-License-Identifier: MIT */
/*
 * The target: plays a tape. See fuzz.h.
 */
#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 500 };

struct fuzz_tape {
    const uint8_t *at, *end;
};

static struct fuzz_tape tape;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- saying what is wrong ---- */

void fuzz_violation(const char *file, int line, const char *what, const char *condition)
{
    fprintf(stderr, "%s:%d: this must hold, and doesn't: %s (%s)\n", file, line, what, condition);
    abort();
}

void fuzz_trace(const char *format, ...)
{
    static int wanted;
    va_list args;

    if (!wanted)
        wanted = getenv("SOON_FUZZ_TRACE") ? 2 : 1;
    if (wanted == 1)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- the tape ---- */

uint8_t fuzz_byte(void)
{
    return tape.at < tape.end ? *tape.at++ : 0;
}

uint32_t fuzz_word(void)
{
    uint32_t word = 0;

    for (int i = 0; i < 4; i++)
        word = word << 8 | fuzz_byte();
    return word;
}

uint64_t fuzz_long(void)
{
    uint64_t high = fuzz_word();

    return high << 32 | fuzz_word();
}

uint64_t fuzz_number(void)
{
    static const uint64_t edge[] = {
        SOON__VALUE_SMALL, 4096,       SOON__BLOCK, SOON__SLAB_MAX, SOON__VALUES_SIZE,
        INT32_MAX,         UINT32_MAX, INT64_MAX,   UINT64_MAX,     UINT64_C(1) << 40};
    uint8_t kind = fuzz_byte();

    switch (kind & 7) {
    case 0:
    case 1:
        return fuzz_byte();
    case 2:
        return fuzz_word() >> 16;
    case 3:
        return fuzz_word();
    case 4:
        return fuzz_long();
    case 5:
        return fuzz_byte() * (uint64_t)SOON__BLOCK;
    default: /* up to two to either side */
        return edge[kind / 8 % 10u] + fuzz_byte() % 5u - 2;
    }
}

/* ---- playing it ---- */

bool fuzz_next_is_mad(void)
{
    return tape.at < tape.end && *tape.at & 1;
}

void fuzz_do_next(void)
{
    bool mad = fuzz_next_is_mad();
    uint8_t number = fuzz_byte() >> 1;
    const struct fuzz_operation *operation =
        mad ? fuzz_mad_operation(number) : fuzz_program_operation(number);

    if (!operation)
        return;
    fuzz_trace("%s%s", mad ? "  worker: " : "", operation->name);
    operation->run();
}

void fuzz_do_elsewhere(void)
{
    const struct fuzz_operation *operation = fuzz_program_operation(fuzz_byte() >> 1);

    if (!operation)
        return;
    fuzz_trace("elsewhere: %s", operation->name);
    operation->run();
}

static void step(void)
{
    if (fuzz_next_is_mad()) {
        fuzz_ambush_over(); /* nobody has come */
        fuzz_do_next();
        return;
    }
    fuzz_note();
    fuzz_do_next();
    fuzz_audit();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tape = (struct fuzz_tape){data, data + size};
    fuzz_system_begin();
    fuzz_workers_begin();
    fuzz_mad_begin();
    fuzz_ambush_over();
    fuzz_preempt(0);
    if (fuzz_program_begin()) {
        for (int steps = 0; tape.at < tape.end && steps < STEPS; steps++)
            step();
        fuzz_ambush_over();
        fuzz_program_end();
    }
    fuzz_system_end();
    return 0;
}
