/* SPDX-License-Identifier: MIT */
#ifndef SOON_CORE_MISUSE_H
#define SOON_CORE_MISUSE_H

/* Misuse that has no honest answer: one sentence on stderr, then abort(). */
_Noreturn void soon__misuse(const char *sentence);

#endif
