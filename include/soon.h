/* SPDX-License-Identifier: MIT */
/*
 * libsoon: concurrent.futures for C.
 *
 * One abstract executor, several backends, one future. This header brings in
 * everything a user of executors needs. Writing a backend of your own takes
 * <soon/backend.h> as well.
 */
#ifndef SOON_H
#define SOON_H

#include <soon/base.h>
#include <soon/call.h>
#include <soon/executor.h>
#include <soon/future.h>
#include <soon/map.h>
#include <soon/stats.h>
#include <soon/version.h>
#include <soon/wait.h>

#endif /* SOON_H */
