/* SPDX-License-Identifier: MIT */
/*
 * Workers of SOON_START_SPAWN: the program, executed anew with a variable in
 * its environment by which it knows what it is there for.
 */
#ifndef SOON_PROCESS_POOL_SPAWN_H
#define SOON_PROCESS_POOL_SPAWN_H

#include "process_pool/nursery.h"

/* The environment that spawned workers get. */
struct soon__spawning;

/* A copy of the program's environment. The nursery cannot read the original,
 * which threads of the program may change meanwhile. NULL: no memory. */
struct soon__spawning *soon__spawning_new(void);
void soon__spawning_free(struct soon__spawning *spawning);

/* A worker's pid, or a negative errno. In the nursery: allocates nothing. */
pid_t soon__spawn_worker(struct soon__spawning *spawning, const int fds[SOON__BORN_FDS]);

#endif
