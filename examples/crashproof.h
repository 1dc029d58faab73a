/* SPDX-License-Identifier: MIT */
/* The decoder that crashproof can't trust. */
#ifndef EXAMPLES_CRASHPROOF_H
#define EXAMPLES_CRASHPROOF_H

#include <stddef.h>
#include <stdint.h>

/* What was unpacked. */
struct text {
    char *bytes; /* to be freed; there is a NUL behind the last one */
    uint32_t len;
    uint32_t crc;
};

/* Unpacks a gzip file of one member that lies in file[0..len). 0, or a negative errno, and *why
 * says more. That goes for files that are a bit damaged. Others can do what they like with it:
 * crashproof_gunzip.c says how. */
int fragile_gunzip(const unsigned char *file, size_t len, struct text *text, const char **why);

#endif /* EXAMPLES_CRASHPROOF_H */
