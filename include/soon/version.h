/* SPDX-License-Identifier: MIT */
/*
 * The version of the headers, and of the library that is running.
 *
 * Before 1.0 the SONAME is libsoon.so.0 and a minor release may change the
 * ABI; from 1.0 on, a program keeps running with every later release of the
 * same major version.
 */
#ifndef SOON_VERSION_H
#define SOON_VERSION_H

#include <soon/base.h>

#define SOON_VERSION_MAJOR 0
#define SOON_VERSION_MINOR 1
#define SOON_VERSION_PATCH 0
#define SOON_VERSION "0.1.0"

SOON_BEGIN_DECLS

/* The version of the library that was loaded, such as "0.1.0". Static. */
SOON_API const char *soon_version(void);

SOON_END_DECLS

#endif /* SOON_VERSION_H */
