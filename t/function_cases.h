/* SPDX-License-Identifier: MIT */
/*
 * The files of one program, test_function, and what they share.
 */
#ifndef SOON_T_FUNCTION_CASES_H
#define SOON_T_FUNCTION_CASES_H

#include "process_pool/function.h"
#include "support.h"

/* Names; what is described how; what is found. test_function.c */
void add_register_cases(Suite *suite);
void add_describe_cases(Suite *suite);

/* Objects that are loaded and unloaded meanwhile. function_loading.c */
void add_loading_cases(Suite *suite);

/* Other processes, and other threads. function_elsewhere.c */
void add_elsewhere_cases(Suite *suite);

/* ---- libraries ---- */

/* Builds of function_library.c. The one of each pair is as large as the other.
 * function_loading.c */
#define LIBRARY_ONE "function_one.so"
#define LIBRARY_TWO "function_two.so"
#define LIBRARY_BARE_ONE "function_bare_one.so" /* without a build-id */
#define LIBRARY_BARE_TWO "function_bare_two.so"
enum { NUMBER_ONE = 41, NUMBER_TWO = 42, NUMBER_QUIET = 1000 };

struct library {
    void *handle;
    soon_fn *decode, *quiet;
};

/* Where a library was built; into path, which is returned. */
const char *library_path(const char *name, char path[static 4096]);

/* Loads one of those above, or any file. */
struct library library_open(const char *name);
struct library library_open_file(const char *path);
void library_close(struct library *library);

/* ---- describing ---- */

#define FORKED true
#define SPAWNED false

struct soon__found *found_now(void);

/* Must succeed. */
struct soon__function describe(struct soon__found *found, bool forked, soon_fn *fn);

/* Is there a way, and if there is none, does the message say why: has it all
 * of these words, separated by '|'? */
bool can_describe(struct soon__found *found, bool forked, soon_fn *fn);
void assert_unknown(struct soon__found *found, bool forked, soon_fn *fn, const char *words);

/* A static function of the program's that is not registered. */
soon_fn *own_function(void);

#endif /* SOON_T_FUNCTION_CASES_H */
