/* SPDX-License-Identifier: MIT */
/*
 * The sentence behind soon_last_error(): one for each thread, got when there
 * is something to say, and freed when the thread ends.
 */
#ifndef SOON_CORE_LAST_ERROR_H
#define SOON_CORE_LAST_ERROR_H

#include <soon/executor.h>

/* A submit to ex failed: if that is because ex is broken, or stayed in the
 * parent of a fork, keeps the reason. Returns error. */
int soon__explain(const soon_executor *ex, int error);

#endif
