/* SPDX-License-Identifier: MIT */
/*
 * A process pool whose workers are out of their minds.
 *
 * An input is a program: a tape of bytes, read as operations one after the
 * other. Some are what a user of the pool does, others what a worker process
 * may do that has lost its mind: writing anything anywhere in its channel,
 * sending any descriptors over its socket, ringing, dying. The host's side of
 * the pool is the real one, down to its system calls. Put in place of it are
 *
 *     system.c    time, and who runs: threads take turns, and change over where
 *                 one sleeps or the tape says so. So a tape always gives the
 *                 same run, and a sleep that nobody ends is seen.
 *     workers.c   the nursery and its workers, who are no processes
 *
 * and over it stand
 *
 *     madman.c    the operations of workers
 *     program.c   the operations of the pool's user
 *     ambush.c    the same, and other threads, while the library is at work
 *     judge.c     what must hold, whatever the workers do
 *
 * channel.c plays a tape: begin, operations, end, and nothing may be left.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <soon.h>

#include "process_pool/pool.h"

/* Ends the process, which the fuzzer takes for a crash, unless the condition
 * holds. */
#define REQUIRE(condition, what)                                    \
    do {                                                            \
        if (!(condition))                                           \
            fuzz_violation(__FILE__, __LINE__, (what), #condition); \
    } while (0)

_Noreturn void fuzz_violation(const char *file, int line, const char *what, const char *condition);

/* Says what goes on, if SOON_FUZZ_TRACE is in the environment. */
void fuzz_trace(const char *format, ...) SOON_PRINTF(1, 2);

/* ---- the tape (channel.c); zeroes when it is at its end ---- */

bool fuzz_next_is_mad(void); /* a worker's operation is next */
void fuzz_do_next(void);
void fuzz_do_elsewhere(void); /* as an operation of the program's, in another thread of it */

uint8_t fuzz_byte(void);
uint32_t fuzz_word(void); /* four bytes */
uint64_t fuzz_long(void); /* eight */

/* A number that is likely to be on some edge. */
uint64_t fuzz_number(void);

/* ---- system.c ---- */

extern bool fuzz_no_threads;   /* soon__thread_start() fails */
extern bool fuzz_nobody_helps; /* while the program sleeps the workers do nothing */

void fuzz_system_begin(void);

/* Lets another thread run until it sleeps; false if none can. */
bool fuzz_run_one(void);
void fuzz_run_from(unsigned thread); /* the first to be looked at for that */

/* Takes the turn away from who has it. */
void fuzz_change_over(void);
bool fuzz_is_any_interrupted(void);

/* Starts one of the program's own; false if there are enough. Is the caller the
 * program's first? */
bool fuzz_start_thread(void *(*run)(void *), void *arg);
bool fuzz_is_main(void);

/* Time passes: some, or until somebody's deadline; false if there is none. */
void fuzz_pass_time(soon_ns time);
bool fuzz_pass_to_deadline(void);

/* Lets threads run, workers work and time pass until no other thread is left. */
void fuzz_run_out(void);

/* Is address in the host's view of a channel or a result? NULL, or the start
 * of what is mapped there, and how much that is. */
const void *fuzz_mapping_at(const void *address, size_t *size);

/* What the run has left behind is a violation. */
void fuzz_system_end(void);

/* ---- workers.c ---- */

enum { FUZZ_WORKERS = 3, FUZZ_FDS = 4 };

enum fuzz_life { FUZZ_NOBODY, FUZZ_UNBORN, FUZZ_ALIVE };

struct fuzz_worker {
    enum fuzz_life life;
    struct soon__berth berth;
    struct soon__channel *channel; /* all of it, as a worker has it */
    int bell, parcels, pidfd;
    pid_t pid;
    int signal;         /* that it was sent: 0, SIGTERM, SIGKILL */
    int kept[FUZZ_FDS]; /* files that it has sent, or -1 */
    unsigned n_kept;
};

extern struct fuzz_worker fuzz_workers[FUZZ_WORKERS];
extern int fuzz_start_error;         /* the next worker can't be asked for */
extern unsigned fuzz_nursery_errors; /* so many times no nursery can be made */

void fuzz_workers_begin(void);

/* The seat that a worker has in the pool, or NULL. */
struct seat *fuzz_seat_of(const struct fuzz_worker *w);

/* What a worker's slot says, as the worker sees it. */
struct soon__slot *fuzz_slot(const struct fuzz_worker *w, uint32_t position);
uint32_t fuzz_state(const struct fuzz_worker *w, uint32_t position);

/* The nursery's reports: born, or (error) not; ended. */
void fuzz_bear(struct fuzz_worker *w, int error);
void fuzz_end(struct fuzz_worker *w, struct soon__exit how);

/* The nursery ends, and all the workers with it. */
void fuzz_nursery_ends(void);

/* As a worker in its right mind does, after what it has written. */
void fuzz_ring(struct fuzz_worker *w, enum soon__bell at_least);

/* One step of one worker, or of the nursery, as they should; false if there is
 * nothing that anybody should do. */
bool fuzz_work_one(void);
bool fuzz_work(struct fuzz_worker *w);

/* ---- madman.c ---- */

enum { FUZZ_OPERATIONS = 32 };

struct fuzz_operation {
    const char *name;
    void (*run)(void);
    enum {
        FUZZ_ANYWHERE,
        FUZZ_CHANNEL, /* where there is a channel */
        FUZZ_MAIN,    /* in the program's first thread, which lets others run */
    } where;
};

void fuzz_mad_begin(void);

/* An operation by its number; NULL: none, or none that is possible now. */
const struct fuzz_operation *fuzz_mad_operation(uint8_t number);

/* ---- ambush.c ---- */

/* The n-th load from now on that the library makes from a channel, and every
 * n-th after it, finds a worker at work: before it is done, so is what comes
 * next on the tape, as long as that is a worker's. */
void fuzz_ambush(unsigned n);
void fuzz_ambush_over(void);

/* At the n-th load from now on that the library makes somewhere, its thread has
 * to stop for another one. 0: no more. */
void fuzz_preempt(unsigned n);

/* Loads count for neither from here on, or again. */
void fuzz_blind(bool now);

/* ---- program.c ---- */

/* False: there is no pool. */
bool fuzz_program_begin(void);
void fuzz_program_end(void);

const struct fuzz_operation *fuzz_program_operation(uint8_t number);

/* ---- judge.c ---- */

enum { FUZZ_TASKS = 40 };

/* What a task's slot said before the library looked. */
struct fuzz_evidence {
    enum { FUZZ_UNKNOWN, FUZZ_FRESH, FUZZ_TAKEN, FUZZ_DONE, FUZZ_NONSENSE } kind;
    int code;
    uint64_t len;
};

struct fuzz_task {
    soon_future *future; /* the program's reference, or NULL */
    bool taken;          /* it is being submitted */
    bool judged;         /* it is done, and that has been looked at */
    bool called;         /* it has a callback, so that the place is taken until that is called */
    unsigned calls;      /* of it */
    unsigned habit;      /* what the callback does */
    soon_ns timeout;
    size_t len; /* of the result */
    uint64_t digest;
    struct fuzz_evidence evidence;
};

extern struct fuzz_task fuzz_tasks[FUZZ_TASKS];
extern struct pool *fuzz_pool; /* NULL once it is gone */
extern bool fuzz_ambushed;     /* what fuzz_note() has seen may be old */

/* Before the library runs, and after it has. */
void fuzz_note(void);
void fuzz_audit(void);

/* The program gives a task up, done or not. */
void fuzz_drop(struct fuzz_task *task);

/* All is done. */
void fuzz_judge_end(uint64_t submitted);

#endif
