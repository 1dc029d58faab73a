/* SPDX-License-Identifier: MIT */
/*
 * A gunzip as it is found in many programs: it works, until somebody sends it
 * a file that was made to break it. See crashproof.h. Its three faults are of
 * kinds that have been found again and again:
 *
 *  - A length of 32 bits from the file plus one, in 32 bits: 4294967295 bytes
 *    of text get no room at all, and what is written behind them lands 4 GiB
 *    away. SIGSEGV.
 *  - A position that is as wide as the lengths in the file, 16 bits: a field of
 *    65532 bytes takes it round to where it was, for ever.
 *  - An assertion about the input, where an error was due. SIGABRT.
 *
 * Besides, it takes as much memory as the file says it needs.
 */
#undef NDEBUG /* however this is built */
#include "crashproof.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { HEADER = 10, TRAILER = 8 };
enum { HAS_CRC = 2, HAS_EXTRA = 4, HAS_NAME = 8, HAS_COMMENT = 16 };

static uint16_t u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | (uint32_t)u16(p + 2) << 16;
}

/* The second fault: `at` is 16 bits wide. Blocked gzip, many members in one file, says so here. */
static int is_blocked(const unsigned char *extra, uint16_t len)
{
    for (uint16_t at = 0; at + 4 <= len; at = (uint16_t)(at + 4 + u16(extra + at + 2))) {
        if (extra[at] == 'B' && extra[at + 1] == 'C')
            return 1;
    }
    return 0;
}

/* Skips len bytes, or up to a NUL and that too. NULL: the header ends before. */
static const unsigned char *skip(const unsigned char *p, const unsigned char *end, size_t len)
{
    return p != NULL && len <= (size_t)(end - p) ? p + len : NULL;
}

static const unsigned char *skip_string(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *nul = p != NULL ? memchr(p, '\0', (size_t)(end - p)) : NULL;
    return nul != NULL ? nul + 1 : NULL;
}

/* Where the packed data begins, or NULL. The third fault is an assertion. */
static const unsigned char *skip_header(const unsigned char *file, const unsigned char *end,
                                        const char **why)
{
    if (file[0] != 0x1f || file[1] != 0x8b) {
        *why = "not a gzip file";
        return NULL;
    }
    unsigned flags = file[3];
    assert(file[2] == Z_DEFLATED && "there is no other method");
    const unsigned char *p = file + HEADER;
    *why = "the header is cut off";
    if (flags & HAS_EXTRA) {
        const unsigned char *extra = skip(p, end, 2);
        uint16_t len = extra != NULL ? u16(p) : 0;
        p = skip(extra, end, len);
        if (p != NULL && is_blocked(extra, len)) {
            *why = "blocked gzip is beyond this decoder";
            return NULL;
        }
    }
    if (flags & HAS_NAME)
        p = skip_string(p, end);
    if (flags & HAS_COMMENT)
        p = skip_string(p, end);
    return flags & HAS_CRC ? skip(p, end, 2) : p;
}

/* Unpacks [from, end) into text, whose length is known. 0, or -EBADMSG. */
static int unpack(const unsigned char *from, const unsigned char *end, struct text *text,
                  const char **why)
{
    z_stream z = {
        .next_in = (unsigned char *)from,
        .avail_in = (uInt)(end - from),
        .next_out = (unsigned char *)text->bytes,
        .avail_out = text->len,
    };
    *why = "no memory to unpack";
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return -ENOMEM;
    int result = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    *why = result == Z_DATA_ERROR ? "the data is not deflate"
                                  : "the data does not have the length that the trailer says";
    if (result != Z_STREAM_END || z.avail_in > 0 || z.avail_out > 0)
        return result == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
    text->crc = (uint32_t)crc32(0, (const unsigned char *)text->bytes, text->len);
    return 0;
}

int fragile_gunzip(const unsigned char *file, size_t len, struct text *text, const char **why)
{
    *why = "too short for a gzip file";
    if (len < HEADER + TRAILER)
        return -EBADMSG;
    const unsigned char *trailer = file + len - TRAILER;
    const unsigned char *data = skip_header(file, trailer, why);
    if (data == NULL)
        return -EBADMSG;
    /* The first fault: len + 1 is 0 when len is the largest that a trailer can say. */
    text->len = u32(trailer + 4);
    text->bytes = malloc(text->len + 1);
    *why = "no memory for as much text as the trailer says";
    if (text->bytes == NULL)
        return -ENOMEM;
    text->bytes[text->len] = '\0';
    int err = unpack(data, trailer, text, why);
    if (err == 0 && text->crc != u32(trailer)) {
        *why = "the checksum is wrong";
        err = -EBADMSG;
    }
    if (err != 0)
        free(text->bytes);
    return err;
}
