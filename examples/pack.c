/* SPDX-License-Identifier: MIT */
/*
 * pack: gzip of one stream, in parallel.
 *
 *     pack [-j WORKERS] [--processes] [FILE...] >out.gz    without FILE: standard input
 *
 * Shows soon_imap: a stream of any length in bounded memory. The source cuts
 * it into blocks, each task compresses one to a piece of deflate that ends on
 * a byte, and the pieces one behind the other are a gzip member. A block takes
 * along the 32 KiB before it as a dictionary, so that next to nothing is lost.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <soon.h>
#include <zlib.h>

#include "pool.h"

enum { DICTIONARY = 32 << 10, BLOCK = 128 << 10, AHEAD = 16, LEVEL = 6 };

struct block { /* an item: dictionary and block */
    uint32_t dictionary_len, len;
    unsigned char bytes[DICTIONARY + BLOCK];
};

struct piece { /* a result */
    uint32_t crc, block_len, len;
    unsigned char bytes[];
};

/* The task. The result is written where it stays: zlib's output is not copied. */
static int compress_block(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    const struct block *block = arg;
    const unsigned char *data = block->bytes + block->dictionary_len;
    z_stream z = {.next_in = (unsigned char *)data, .avail_in = block->len};
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    size_t room = deflateBound(&z, block->len) + 16; /* a sync flush ends in an empty block */
    struct piece *piece = soon_return_buffer(call, sizeof *piece + room);
    int err = piece != NULL ? 0 : -ENOMEM;
    if (err == 0) {
        z.next_out = piece->bytes;
        z.avail_out = (uInt)room;
        deflateSetDictionary(&z, block->bytes, block->dictionary_len);
        if (deflate(&z, Z_SYNC_FLUSH) != Z_OK || z.avail_in > 0 || z.avail_out == 0)
            err = soon_fail(call, -EIO, "deflate failed");
        piece->crc = (uint32_t)crc32(0, data, block->len);
        piece->block_len = block->len;
        piece->len = (uint32_t)z.total_out;
    }
    deflateEnd(&z);
    return err;
}

/* The source: the files one after the other as standard input, as cat would read them. */
struct input {
    const char *name;   /* of what is read now */
    char **others;      /* to be read after it, ends in NULL */
    struct block block; /* the last one given out */
};

static int input_error(const struct input *in)
{
    int err = errno;
    fprintf(stderr, "pack: %s: %s\n", in->name, strerror(err));
    return -err;
}

/* Goes on to the next file. 1; 0: there is none; a negative errno. */
static int open_next(struct input *in)
{
    if (*in->others == NULL)
        return 0;
    in->name = *in->others++;
    return freopen(in->name, "rb", stdin) != NULL ? 1 : input_error(in);
}

static int next_block(void *source, const void **item, size_t *len)
{
    struct input *in = source;
    struct block *block = &in->block;
    size_t have = block->dictionary_len + block->len;
    size_t kept = have < DICTIONARY ? have : DICTIONARY, got = 0;
    memmove(block->bytes, block->bytes + have - kept, kept);
    for (int more = 1; more > 0 && got < BLOCK;) {
        got += fread(block->bytes + kept + got, 1, BLOCK - got, stdin);
        if (ferror(stdin))
            return input_error(in);
        if (got < BLOCK && (more = open_next(in)) < 0)
            return more;
    }
    block->dictionary_len = (uint32_t)kept;
    block->len = (uint32_t)got;
    *item = block;
    *len = offsetof(struct block, bytes) + kept + got;
    return got > 0;
}

/* One gzip member: header, pieces, an empty last block, trailer. 0, or a negative errno. */
static int write_gzip(soon_imap *pieces)
{
    static const unsigned char header[] = {0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 3};
    unsigned char trailer[10] = {3}; /* first the empty last block */
    uint32_t crc = 0, total = 0;     /* modulo 2^32, as the format says */
    const void *value;
    size_t len;
    int more;
    fwrite(header, 1, sizeof header, stdout);
    while ((more = soon_imap_next(pieces, &value, &len)) > 0 && !ferror(stdout)) {
        const struct piece *piece = value;
        fwrite(piece->bytes, 1, piece->len, stdout);
        crc = (uint32_t)crc32_combine(crc, piece->crc, piece->block_len);
        total += piece->block_len;
    }
    if (more < 0)
        return more;
    for (int i = 0; i < 4; i++) {
        trailer[2 + i] = (unsigned char)(crc >> 8 * i);
        trailer[6 + i] = (unsigned char)(total >> 8 * i);
    }
    fwrite(trailer, 1, sizeof trailer, stdout);
    return fflush(stdout) != 0 || ferror(stdout) ? -EIO : 0;
}

int main(int argc, char **argv)
{
    static struct input in = {.name = "standard input"};
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct pool_choice choice = {0};
    if (!pool_options(&choice, argc, argv, POOL_OPTIONS)) {
        fputs("usage: pack " POOL_USAGE " [FILE...]\n", stderr);
        return 2;
    }
    in.others = argv + optind;
    soon_executor *pool = NULL;
    soon_imap *pieces = NULL;
    soon_map_options options = {.buffer_size = AHEAD};
    int err = open_next(&in);
    err = err < 0 ? err : pool_open(&choice, "pack", &pool);
    if (err == 0)
        err = soon_imap_new(pool, compress_block, next_block, &in, &options, &pieces);
    if (err == 0)
        err = write_gzip(pieces);
    if (err != 0)
        fprintf(stderr, "pack: the output is not complete: %s\n", strerror(-err));
    soon_imap_free(pieces);
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return err != 0;
}
