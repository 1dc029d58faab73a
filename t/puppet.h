/* SPDX-License-Identifier: MIT */
/*
 * A nursery under test, and workers in it that do as they are told.
 */
#ifndef SOON_T_PUPPET_H
#define SOON_T_PUPPET_H

#include "support.h"

#include "process_pool/nursery.h"

/* What the methods are, for loops. */
enum { METHODS = SOON_START_SPAWN + 1 };

/* What a puppet finds where it is. */
struct look {
    pid_t pid, parent, group;
    int death_signal;
    bool mask_is_empty;
    bool sigint_ignored;
    bool sigusr1_default;
    bool has_sockets;  /* the nursery's */
    bool has_variable; /* SOON_SPAWNED */
    bool event_works;
    int memory;        /* puppet_memory */
    char word[16];     /* in the file it was born with */
    char env[16];      /* SOON_TEST_WORD */
    char argument[16]; /* the last of its command line */
};

extern int puppet_memory;

struct stage {
    struct soon__nursery nursery;
    struct bell gone;
};

struct puppet {
    struct soon__berth berth;
    pid_t pid;
    int pidfd;
    int strings;
};

void stage_open(struct stage *stage, int method);
void stage_close(struct stage *stage);

/* The nursery alone, for who expects a failure. The stage is empty then. */
int stage_try_open(struct stage *stage, int method);

/* The nursery ends by itself. */
void stage_await_gone(struct stage *stage);

/* The process whose children the workers are. */
pid_t stage_nursery_pid(const struct puppet *puppet);

/* Waits for the next report. */
struct soon__report next_report(struct stage *stage);

/* Waits until there is something to read: its result, an error. */
int await_report(struct stage *stage, struct soon__report *report);

/* Asks for a puppet, without waiting. puppet->strings is open from here on. */
int puppet_ask(struct stage *stage, struct puppet *puppet, unsigned seat);

/* Asks, and waits until it is born and lives. */
struct puppet puppet_new(struct stage *stage, unsigned seat);
void puppet_await(struct stage *stage, struct puppet *puppet);

/* The caller's descriptors of it. */
void puppet_drop(struct puppet *puppet);

struct look puppet_look(struct stage *stage, const struct puppet *puppet);
pid_t puppet_fork(const struct puppet *puppet); /* of the process that it forks */
void puppet_exit(const struct puppet *puppet, int code);
void puppet_raise(const struct puppet *puppet, int signal_number);

/* Asks for something that is refused: returns when the nursery is through with
 * all that it was asked before. */
void stage_round_trip(struct stage *stage);

/* The next report is that it has died, and how. */
void assert_died(struct stage *stage, const struct puppet *puppet, int signal_number, int code);

/* The process ends before long. */
void assert_ends(int pidfd);

#endif /* SOON_T_PUPPET_H */
