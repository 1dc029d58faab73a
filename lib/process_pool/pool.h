/* SPDX-License-Identifier: MIT */
/*
 * The process pool's own structures, on the side of the program.
 *
 *     pool.c      what the executor's users call, and its options
 *     dispatch.c  tasks from the queue to the workers
 *     store.c     large arguments, written once for all workers
 *     recall.c    tasks taken back, and what else happens to one that is out
 *     seat.c      a worker's place: taken, given up, free again
 *     collect.c   what workers have finished, checked and handed to futures
 *     death.c     what a worker's death means for its task, and for the pool
 *     assist.c    a thread that waits for a task fetches the result itself
 *     reports.c   births and deaths, as the nursery tells them
 *     stuck.c     tasks that wait although a worker has nothing to do
 *     monitor.c   the thread that does all that nobody else would wait for
 *     nursery.c   the process whose children the workers are
 *     worker.c, port.c   in the worker process; channel.h is between them
 *
 * One lock guards the pool. It is held while a task is handed out, but not
 * while a long argument is copied (an entry is `filling` then), nor while a
 * future is completed.
 */
#ifndef SOON_PROCESS_POOL_POOL_H
#define SOON_PROCESS_POOL_POOL_H

#include <soon/backend.h>

#include "os/clock.h"
#include "os/lock.h"
#include "os/wait_group.h"
#include "process_pool/channel.h"
#include "process_pool/nursery.h"

struct pool;

/* What a future's value may be borrowed from, and where its argument may lie. */
enum loan_kind { LOAN_SEGMENT = 1, LOAN_FILE, LOAN_STORE };

/* A worker's channel as mapped here. Results that futures borrow keep it
 * beyond the worker's life. */
struct segment {
    enum loan_kind kind;           /* LOAN_SEGMENT. Sync: const */
    _Atomic uint32_t refs;         /* Sync: atomic: the seat, each loan, who fills a slot */
    _Atomic uint64_t lent;         /* blocks that futures borrow. Sync: atomic */
    struct soon__channel *channel; /* header and arguments; not there in forked children */
    unsigned char *args;
    const unsigned char *values; /* read-only; in forked children too, for what they inherit */
};

/* The pool's account of one position of a ring. Sync: pool->lock */
struct entry {
    struct seat *seat; /* Sync: const */
    uint32_t position;
    soon_future *future; /* a reference; NULL: an errand, or it was taken back */
    soon_ns deadline;    /* once it is known to have begun; else SOON__NEVER */
    soon_ns timeout;     /* 0: none */
    uint32_t args_end;   /* the argument ring is free up to here when this is over */
    uint32_t args_at;    /* where in it, or in the store, its argument is, if where says so */
    uint8_t where;       /* enum soon__where, of the argument */
    uint8_t errand;      /* enum soon__errand */
    bool filling;        /* somebody copies its argument, without the lock */
    bool begun;          /* the library knows that it has */
    bool revoked;        /* taken back, or never shown */
    bool over;           /* being collected */
};

enum seat_phase {
    SEAT_VACANT,
    SEAT_OPEN,   /* has a worker, or one is being born; takes tasks */
    SEAT_DOOMED, /* its worker is to end, or has been told to finish; takes none */
};

enum { STORE_WORDS = SOON__STORE_SIZE / SOON__BLOCK / 64 };

/* Where large arguments lie from their submit until they are done (store.c). */
struct store {
    enum loan_kind kind;                   /* LOAN_STORE, first. Sync: const */
    bool tried;                            /* to make it. Sync: pool->lock */
    int fd;                                /* or -1. Sync: const once base is set */
    unsigned char *_Atomic base;           /* NULL: there is none. Sync: atomic, set once */
    _Atomic uint64_t used[STORE_WORDS];    /* a bit for each block. Sync: atomic */
    _Atomic uint64_t touched[STORE_WORDS]; /* blocks that have memory. Sync: atomic */
};

/* Why a worker ends, for its task and for the figures. */
enum seat_reason {
    REASON_NONE,
    REASON_CRASH,   /* of itself */
    REASON_TIMEOUT, /* its task ran past its timeout */
    REASON_KILLED,  /* soon_future_kill() */
    REASON_STOPPED, /* terminate_workers, kill_workers */
    REASON_CORRUPT, /* it wrote nonsense into its channel */
    REASON_FINISH,  /* it was told to finish */
    REASON_NURSERY, /* the nursery went, and took it along */
};

/* A place for a worker, used by one after the other. Never freed before the
 * pool is. Sync: pool->lock, but for what is const */
struct seat {
    struct pool *pool; /* Sync: const */
    unsigned number;   /* Sync: const */
    enum seat_phase phase;
    uint32_t generation;                 /* of its worker: changes when it is vacated */
    struct seat *next, **link;           /* in the list for its condition, see soon__seat_sort() */
    struct seat *next_busy, **link_busy; /* while its ring is not empty */

    pid_t pid;         /* 0: not known yet */
    int pidfd;         /* or -1 */
    int bell, parcels; /* descriptors */
    struct segment *segment;
    bool gone;               /* its worker is: nobody dooms it any more */
    enum seat_reason reason; /* Sync: lock; const once gone, until it is vacated */
    const char *corrupt;     /* what was wrong. static. Sync: as reason */
    int signal;              /* to be sent as soon as it can be, or 0 */
    int beyond;              /* a negative errno: why its worker can't be ended by force, or 0 */
    soon_ns kill_at;         /* when SIGKILL is due, or SOON__NEVER */
    bool finishing;          /* FINISH was handed out */
    bool started;            /* counted in n_started */
    bool has_store;          /* the store's file is with it, or on its way */

    uint32_t head, tail; /* positions: the oldest not collected, the next to hand out */
    unsigned n_live;     /* tasks between them that were not taken back */
    unsigned n_revoked;  /* of those between them, the ones that the worker has still to pass */
    unsigned n_given;    /* tasks it got for good in this life */
    uint64_t pace;       /* ns a task, smoothed; PACE_UNKNOWN */
    uint32_t last_head;  /* at the last look for tasks that are stuck */
    soon_future *killed; /* by soon_future_kill(): the worker may read its argument until it is
                            gone. A reference, or NULL */
    bool stuck;          /* at one task, as two looks have found */
    bool doubted;        /* it has been for so long that the pool was told to doubt */
    soon_ns stuck_since; /* when that was found first */
    uint32_t proven;     /* the pool's trust when it last ended a task */
    /* its part in the pool's figures */
    unsigned counted_idle, counted_ahead, counted_quick, counted_swift;
    uint32_t args_head, args_tail; /* free-running offsets into the argument ring */
    struct entry ring[SOON__RING];
};

#define PACE_UNKNOWN UINT64_MAX

#define SOON__RESEND_NS SOON_MS(10) /* until a signal that could not be sent is sent again */

enum { RESTARTS_MAX = 65536 }; /* more of them are no limit */

struct pool {
    soon_executor ex; /* first: a pool is an executor */

    /* Sync: const after new */
    unsigned max_workers;
    unsigned cpus; /* that the pool's processes may use */
    int start_method;
    unsigned max_tasks;
    soon_ns kill_grace;
    unsigned max_restarts;
    soon_ns restart_window;
    size_t worker_memory;
    bool break_on_death;
    char name[16];
    soon_fn *initializer, *finalizer;
    struct soon__function initializer_ref, finalizer_ref;
    void *init_arg;
    size_t init_arg_len;
    struct soon__found *found; /* what functions workers can find */

    soon__lock lock;
    struct soon_task_queue queue; /* Sync: lock */
    size_t stale;                 /* about how many in queue are done. Sync: lock */
    bool stalled; /* no worker was found for what is first in the queue, and nothing has changed
                     since. Sync: lock */
    struct seat **seats; /* [max_workers], NULL where never used. Sync: lock */
    unsigned n_seats;    /* made so far. Sync: lock */
    unsigned n_workers;  /* seats that are not vacant. Sync: lock */
    unsigned n_alive;    /* of them, those whose worker is known to be born. Sync: lock */
    struct seat *vacant, *idle, *roomy; /* Sync: lock */
    struct seat *busy;                  /* Sync: lock */
    unsigned n_idle;                    /* Sync: lock */
    unsigned n_quick; /* workers that end a task sooner than another is awake, and have one. Sync:
                         lock */
    unsigned n_swift; /* of them, those that end it sooner than the program brings another. Sync:
                         lock */
    bool quick;       /* such a one has ended a task, and nothing speaks against relying on it.
                         Sync: lock */
    bool moved;       /* one has since the last look for tasks that are stuck. Sync: lock */
    uint32_t trust;   /* changes when what workers have proven before counts no more. Sync: lock */
    unsigned n_ahead; /* tasks handed ahead of others that run. Sync: lock */
    bool stopped;     /* nothing is handed out any more. Sync: lock */
    bool closing;     /* Sync: lock; set once */
    bool want_begins; /* somebody waits for a task to begin. Sync: lock */
    bool watching;    /* the monitor sleeps, or is about to. Sync: lock */
    soon_ns wake_at;  /* when it will look by itself. Sync: lock */
    bool lively;      /* it will, a tick after the last work. Sync: lock */
    soon_ns stuck_at; /* when to look for tasks that are stuck behind another, or
                         0. Sync: lock */
    soon_ns start_after;    /* no new worker before this: one could not be had.
                               Sync: lock */
    unsigned failed_starts; /* as the nursery has reported. Sync: lock */
    unsigned failed_row;    /* those and others, in a row. Sync: lock */
    soon_ns failing_since;  /* the first of that row. Sync: lock */
    int start_error;        /* of the last one. Sync: lock */
    bool unsent;            /* some seat has a signal that could not be sent yet. Sync:
                               lock */
    bool broken;            /* Sync: lock; set once */
    char *why;              /* it is broken, or NULL. Sync: lock */
    uint64_t n_started, n_crashed, n_replaced; /* Sync: lock */
    soon_ns *deaths;     /* the last max_restarts of them, a ring. Sync: lock */
    unsigned next_death; /* Sync: lock */
    size_t mapped;       /* bytes of segments. Sync: lock */
    struct store store;  /* Sync: see there */
    soon__futex births;  /* Sync: atomic: changes when a start has ended */
    struct soon__wait_group
        enders; /* who end futures that they took from the queue. Sync: its own */

    soon__lock collecting; /* held by who collects: the monitor while it is awake, or a thread that
                              waits (assist.c). Before lock */
    void *orphans;         /* callbacks that came due in such a thread. Sync: lock */

    struct soon__nursery nursery; /* Sync: who leads (monitor.c); start: lock */
    bool nursery_up;              /* Sync: lock */
    int poll_fd;                  /* Sync: const */
    int poke_fd;                  /* Sync: const */
    bool over;                    /* the monitor has ended. Sync: lock; set once */
    pthread_t last;               /* the thread that ended it, to be joined. Sync: lock */
    bool has_last, joining;       /* Sync: lock */
    pthread_t spare;              /* a thread that waits to lead. Sync: lock */
    soon_ns hand_over_at;         /* no thread could be had: not before this. Sync: who leads */
    bool has_spare;               /* Sync: lock */
    soon__futex baton;            /* Sync: atomic: changes when the spare should look */
    soon__futex gone;             /* Sync: atomic: changes when the monitor has ended */
};

static inline struct entry *soon__entry_at(struct seat *seat, uint32_t position)
{
    return &seat->ring[position % SOON__RING];
}

/* Its slot, while the seat is taken. */
static inline struct soon__slot *soon__slot_at(const struct entry *entry)
{
    return soon__slot_of(entry->seat->segment->channel, entry->position);
}

/* ---- dispatch.c ---- */

/* Hands out what it can. Under the lock, which it may release meanwhile. */
void soon__pump(struct pool *pool);

/* Queues a chain, and hands out what it can. Under the lock. */
void soon__bring(struct pool *pool, soon_future *chain);

/* Hands an errand to a worker. Under the lock. 0; -EAGAIN: no room now;
 * another negative errno: it can't be done. */
int soon__give_errand(struct seat *seat, enum soon__errand errand);

/* ---- store.c ---- */

/* The operation room. */
void *soon__op_room(soon_executor *ex, size_t len, void **token);

/* Is this an address in it, and which? */
bool soon__store_has(const struct store *store, const void *at);
uint32_t soon__store_offset(const struct store *store, const void *at);

void soon__store_give_back(struct store *store, const void *at, size_t len);
size_t soon__store_memory(const struct store *store);
void soon__store_close(struct store *store);

/* ---- recall.c ---- */

/* Takes back every task of a seat that has not begun, and puts them in front
 * of the queue again. Under the lock. */
void soon__take_back(struct seat *seat);

/* The same of tasks that are less urgent than priority, in all seats. */
void soon__take_back_below(struct pool *pool, int priority);

/* Is the worker of a seat still at the task of this position, now that all it
 * had not begun has been taken back? Then it can't begin any other, and
 * whatever is done to it hits no other task. Under the lock. */
bool soon__is_stuck_at(struct seat *seat, uint32_t position);

/* Tells the library of the task that has begun, if one has, and notes its
 * deadline; true if that is news. Under the lock. */
bool soon__note_begun(struct seat *seat);

/* f's entry while it is with a worker, else NULL. Under the lock. */
struct entry *soon__entry_of(const soon_future *f);

/* What a call said last of its progress goes to its future. */
void soon__keep_progress(soon_future *f, struct soon__slot *slot);

/* The operations look, recall, ask, progress, kill. */
void soon__op_look(soon_executor *ex, soon_future *f);
bool soon__op_recall(soon_executor *ex, soon_future *f);
void soon__op_ask(soon_executor *ex, soon_future *f);
bool soon__op_progress(soon_executor *ex, soon_future *f, uint64_t *done, uint64_t *total);
void soon__op_kill(soon_executor *ex, soon_future *f);

/* ---- seat.c ---- */

/* Gets a worker for a vacant seat. Under the lock. 0, or a negative errno. */
int soon__seat_open(struct pool *pool, struct seat **out);

/* Puts the seat into the list it belongs to now. Under the lock, after any
 * change of phase, n_live, head, tail, n_given or pace. */
void soon__seat_sort(struct seat *seat);

/* The worker is to end: takes back what it has not begun, and sends signal (0:
 * none). Under the lock. */
void soon__seat_doom(struct seat *seat, enum seat_reason reason, int signal);

/* Sends a signal that is still to be sent. Under the lock. */
void soon__seat_signal(struct seat *seat);

/* The worker is to end when it has done what it was given. Under the lock. */
void soon__seat_finish(struct seat *seat);

/* Counts its worker as started, once: when its birth is reported, or before,
 * when it has done something. Under the lock. */
void soon__seat_started(struct seat *seat);

/* Its worker is no more, and nothing of it is left: the seat is vacant. Under
 * the lock. */
void soon__seat_vacate(struct seat *seat);

void soon__segment_ref(struct segment *segment);
void soon__segment_drop(struct segment *segment);

/* May tasks be handed ahead to it, though another worker has none? */
bool soon__seat_is_trusted(const struct seat *seat);

/* It has ended tasks, or is vacant: whatever it was, it is not stuck. Under the
 * lock. */
void soon__seat_moved(struct seat *seat);

/* Tasks that may be with a worker at once. */
unsigned soon__seat_depth(const struct seat *seat);

/* ---- collect.c ---- */

/* Completes what the workers have finished; true if there was anything. Under
 * pool->collecting. */
bool soon__collect(struct pool *pool);

/* ---- death.c ---- */

/* Collects the last results of a worker that is dead, fails the task that it
 * ran, vacates its seat, and judges what that means for the pool. Under
 * pool->collecting. */
void soon__bury(struct seat *seat, struct soon__exit how);

/* The nursery is gone, and so are its workers. */
void soon__bury_all(struct pool *pool);

/* The same of one seat. */
bool soon__collect_seat(struct seat *seat);

/* Has a worker finished anything, or lost its mind? Under the lock. */
bool soon__is_ready(struct seat *seat);

void soon__op_give_back(soon_executor *ex, const void *value, size_t len, void *token);

/* ---- reports.c ---- */

/* Reads and does what the nursery reports; true if there was anything. Under
 * pool->collecting. */
bool soon__read_reports(struct pool *pool);

/* A worker could not be had: the next try is the later the more of them have
 * failed in a row. Under the lock. */
void soon__start_failed(struct pool *pool, int error);

/* Is there work that nobody can do, and has that lasted so long that there is
 * no hope? Under the lock. */
bool soon__is_hopeless(const struct pool *pool);

/* ---- assist.c ---- */

void soon__op_assist(soon_executor *ex, soon_future *f, soon_ns deadline);

/* ---- monitor.c ---- */

/* What it waits for in pool->poll_fd. */
enum {
    TOKEN_POKE = 1,
    TOKEN_REPORT = 2,
    TOKEN_BELL = 3, /* all of them: every busy seat is looked at in any case */
};

int soon__monitor_start(struct pool *pool);

/* Makes the monitor look. Any thread. */
void soon__monitor_poke(struct pool *pool);

/* Makes it look at the latest then. Under the lock. */
void soon__monitor_by(struct pool *pool, soon_ns when);

/* Waits for its end, at most until deadline: 0 or -ETIMEDOUT. */
int soon__monitor_join(struct pool *pool, soon_ns deadline);

/* ---- stuck.c ---- */

/* The task that a worker runs, or will run next. Under the lock. */
struct entry *soon__current(struct seat *seat);

/* A task is to wait although some worker has none: makes the monitor look soon
 * whether that was right. Under the lock. */
void soon__mind_waiting(struct pool *pool);

/* Looks, if it is time. Under the lock. */
void soon__check_stuck(struct pool *pool, soon_ns now);

/* ---- pool.c ---- */

/* The pool can do no more: what is pending fails with -ENOTRECOVERABLE. Not
 * under the lock. */
void soon__break(struct pool *pool, const char *format, ...) SOON_PRINTF(2, 3);

/* Ends everything that is pending: cancelled, or failed if the pool is broken. */
void soon__flush_pool(struct pool *pool);

#endif
