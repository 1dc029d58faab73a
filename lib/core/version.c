/* SPDX-License-Identifier: MIT */
#include <soon/version.h>

const char *soon_version(void)
{
    return SOON_VERSION;
}
