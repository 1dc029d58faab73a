/* SPDX-License-Identifier: MIT */
#include "core/misuse.h"

#include <stdio.h>
#include <stdlib.h>

void soon__misuse(const char *sentence)
{
    fprintf(stderr, "libsoon: %s\n", sentence);
    abort();
}
