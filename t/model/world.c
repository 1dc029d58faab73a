/* SPDX-License-Identifier: MIT */
/*
 * The program in world.h: futures, and the threads that use the pool.
 */
#include "world.h"

#include <errno.h>
#include <string.h>

struct pool world_pool;
soon_future world_task[WORLD_TASKS];
void (*world_function)(soon_future *f, struct soon_port *port);

static struct seat *seats[1];
static soon__futex users; /* that have not left */

/* ---- futures; transition.c has its own model ---- */

/* By who has a result, in whatever phase f is; false if it was done. */
static bool settle(soon_future *f, enum world_phase to)
{
    uint32_t seen = atomic_load_explicit(&f->phase, memory_order_acquire);

    do {
        while (seen == TASK_DECIDING) {
            model_sleep(&f->phase, TASK_DECIDING, false);
            seen = atomic_load_explicit(&f->phase, memory_order_acquire);
        }
        if (seen > TASK_RUNNING)
            return false;
    } while (!atomic_compare_exchange_strong_explicit(&f->phase, &seen, to, memory_order_acq_rel,
                                                      memory_order_acquire));
    model_wake(&f->phase, INT_MAX);
    return true;
}

static int complete(soon_future *f, enum world_phase to)
{
    bool settled = settle(f, to);

    model_expect(settled || f->killed, "a task was completed twice, or had been cancelled");
    return settled ? 0 : -EALREADY;
}

int soon_future_deliver(soon_future *f, const void *value, size_t len)
{
    world_read(value);
    model_expect(len == (f->result ? f->result : 1), "a result of another length");
    model_expect(*(const unsigned char *)value == f->number, "another task's result");
    return complete(f, TASK_FINISHED);
}

int soon_future_lend(soon_future *f, const void *value, size_t len, void *token)
{
    f->value = value;
    f->value_len = len;
    f->token = token;
    return complete(f, TASK_FINISHED);
}

int soon_future_set_failure(soon_future *f, const soon_error *error)
{
    model_expect(error->code == -EOWNERDEAD, "a task failed without a reason");
    return complete(f, TASK_FAILED);
}

bool soon_future_set_running_or_notify_cancel(soon_future *f)
{
    uint32_t seen = TASK_PENDING;

    f->told = true;
    if (!atomic_compare_exchange_strong_explicit(&f->phase, &seen, TASK_RUNNING,
                                                 memory_order_acq_rel, memory_order_acquire))
        return false;
    model_wake(&f->phase, INT_MAX);
    return true;
}

void soon_future_set_progress(soon_future *f, uint64_t done, uint64_t total)
{
    model_expect(total == 10 * done && done >= f->progress, "progress that nobody reported");
    f->progress = done;
}

bool soon_future_done(const soon_future *f)
{
    return atomic_load_explicit(&f->phase, memory_order_acquire) > TASK_RUNNING;
}

bool soon_future_unclaimed(const soon_future *f)
{
    /* relaxed: a glance. */
    return atomic_load_explicit(&f->phase, memory_order_relaxed) == TASK_PENDING;
}

static int function(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    return 0;
}

void soon_future_task(const soon_future *f, soon_task *task)
{
    *task = (soon_task){.fn = function, .arg = &f->number, .arg_len = f->arg_len, .name = "task"};
}

unsigned soon_future_manner(const soon_future *f)
{
    (void)f;
    return 0;
}

void soon_future_set_place(soon_future *f, void *place)
{
    f->place = place;
}

void *soon_future_place(const soon_future *f)
{
    return f->place;
}

soon_future *soon_future_next(const soon_future *f)
{
    return f->next;
}

soon_future *soon_future_ref(soon_future *f)
{
    return f;
}

void soon_future_unref(soon_future *f)
{
    (void)f;
}

/* ---- their calls, in the worker ---- */

int soon__function_describe(struct soon__found *found, bool forked, soon_fn *fn,
                            struct soon__function *out, char *message, size_t size)
{
    (void)found, (void)forked, (void)message, (void)size;
    world_wrote(out);
    *out =
        (struct soon__function){.kind = SOON__FUNCTION_ADDRESS, .offset = (uint64_t)(uintptr_t)fn};
    return 0;
}

soon_fn *soon__function_find(const struct soon__function *in)
{
    world_read(in);
    world_perhaps_die();
    return (soon_fn *)(uintptr_t)in->offset;
}

const char *soon__function_name(soon_fn *fn, char *text, size_t size)
{
    (void)fn, (void)size;
    *text = '\0';
    return text;
}

void soon_port_call(struct soon_port *port, soon_fn *fn, unsigned manner, const void *arg,
                    size_t arg_len, struct soon_outcome *outcome)
{
    (void)fn, (void)manner;
    world_read(arg);
    soon_future *f = &world_task[*(const unsigned char *)arg];
    model_expect(f->arg_len == arg_len, "another task's argument");
    model_expect(++f->runs == 1, "a task was begun twice");
    if (world_function)
        world_function(f, port);
    world_perhaps_die();
    size_t len = f->result ? f->result : 1;
    unsigned char *value = f->result ? port->buffer(port, len) : port->room;
    world_wrote(value);
    *value = f->number;
    outcome->code = 0;
    outcome->value = value;
    outcome->value_len = len;
    world_perhaps_die();
}

/* ---- a queue, of one lane ---- */

void soon_task_queue_push(struct soon_task_queue *queue, soon_future *f)
{
    soon_future **link = &queue->lane[0].head;

    while (*link)
        link = &(*link)->next;
    f->next = NULL;
    *link = f;
    queue->count++;
}

void soon_task_queue_return(struct soon_task_queue *queue, soon_future *f)
{
    f->next = queue->lane[0].head;
    queue->lane[0].head = f;
    queue->count++;
}

soon_future *soon_task_queue_pop(struct soon_task_queue *queue)
{
    soon_future *f = queue->lane[0].head;

    queue->lane[0].head = f->next;
    queue->count--;
    return f;
}

soon_future *soon_task_queue_sweep(struct soon_task_queue *queue)
{
    (void)queue;
    return NULL;
}

/* ---- the rest of the library ---- */

void soon__break(struct pool *pool, const char *format, ...)
{
    (void)pool, (void)format;
    model_expect(false, "the pool broke");
}

void soon__flush_pool(struct pool *pool)
{
    (void)pool;
    model_expect(false, "nobody stops the pool");
}

void soon_executor_hold(soon_executor *ex)
{
    (void)ex;
}

void soon_executor_release(soon_executor *ex)
{
    (void)ex;
}

int soon_executor_drain(soon_executor *ex, soon_ns deadline)
{
    (void)ex, (void)deadline;
    return 0;
}

bool soon_callbacks_due(void)
{
    return false;
}

bool soon_callbacks_defer(void)
{
    return false;
}

void soon_callbacks_resume(bool before)
{
    (void)before;
}

void *soon_callbacks_take(bool before)
{
    (void)before;
    return NULL;
}

void soon_callbacks_put(void *taken)
{
    (void)taken;
}

/* ---- threads ---- */

void world_monitor(void)
{
    world_thread(&world_pool);
}

void world_submit(unsigned i, size_t arg_len)
{
    soon_future *f = &world_task[i];

    f->submitted = true;
    f->arg_len = arg_len;
    soon__lock_acquire(&world_pool.lock);
    soon_task_queue_push(&world_pool.queue, f);
    soon__pump(&world_pool);
    soon__lock_release(&world_pool.lock);
}

void world_cancel(unsigned i)
{
    soon_future *f = &world_task[i];
    uint32_t seen = TASK_PENDING;

    if (!atomic_compare_exchange_strong_explicit(&f->phase, &seen, TASK_DECIDING,
                                                 memory_order_acq_rel, memory_order_acquire))
        return;
    bool recalled = soon__op_recall(&world_pool.ex, f);
    f->told |= !recalled;
    atomic_store_explicit(&f->phase, recalled ? TASK_CANCELLED : TASK_RUNNING,
                          memory_order_release);
    model_wake(&f->phase, INT_MAX);
}

void world_kill(unsigned i)
{
    soon_future *f = &world_task[i];
    uint32_t seen = TASK_RUNNING;

    world_cancel(i);
    if (!atomic_compare_exchange_strong_explicit(&f->phase, &seen, TASK_FAILED,
                                                 memory_order_acq_rel, memory_order_acquire))
        return;
    f->killed = true;
    model_wake(&f->phase, INT_MAX);
    soon__op_kill(&world_pool.ex, f);
}

void world_look(unsigned i)
{
    soon__op_look(&world_pool.ex, &world_task[i]);
}

void world_take_back(void)
{
    soon__lock_acquire(&world_pool.lock);
    for (struct seat *seat = world_pool.busy; seat; seat = seat->next_busy)
        soon__take_back(seat);
    soon__pump(&world_pool);
    soon__lock_release(&world_pool.lock);
}

void world_assist(unsigned i)
{
    soon__op_assist(&world_pool.ex, &world_task[i], SOON__NEVER);
}

void world_wait(unsigned i)
{
    soon_future *f = &world_task[i];
    uint32_t seen;

    while ((seen = atomic_load_explicit(&f->phase, memory_order_acquire)) <= TASK_RUNNING)
        model_sleep(&f->phase, seen, false);
}

void world_give_back(unsigned i)
{
    soon_future *f = &world_task[i];

    if (f->result != RESULT_LENT)
        return;
    model_expect(f->value != NULL, "nothing was lent");
    world_read(f->value);
    model_expect(*(const unsigned char *)f->value == f->number, "another task's result");
    soon__op_give_back(&world_pool.ex, f->value, f->value_len, f->token);
}

void world_leave(void)
{
    if (atomic_fetch_sub(&users, 1) != 1)
        return;
    soon__lock_acquire(&world_pool.lock);
    world_pool.closing = true;
    soon__lock_release(&world_pool.lock);
    soon__monitor_poke(&world_pool);
}

/* ---- before and after ---- */

/* lively: a poke at the first task would tell the monitor more than it needs
 * to know. */
void world_begin(unsigned n_users, unsigned lives)
{
    struct pool *pool = &world_pool;
    struct seat *seat;

    memset(pool, 0, sizeof *pool);
    world_memory_begin(lives);
    world_os_begin();
    memset(world_task, 0, sizeof world_task);
    for (unsigned i = 0; i < WORLD_TASKS; i++) {
        world_task[i].number = (unsigned char)i;
        MODEL_BIND(world_task[i].phase, "phase");
    }
    atomic_init(&users, n_users);
    MODEL_BIND(users, "users");
    MODEL_BIND(pool->births, "births");
    MODEL_BIND(pool->baton, "baton");
    MODEL_BIND(pool->gone, "gone");
    world_function = NULL;
    world_deaths = 0;
    pool->max_workers = pool->cpus = 1;
    pool->start_method = SOON_START_SPAWN;
    pool->max_restarts = UINT_MAX;
    pool->seats = seats;
    pool->nursery_up = true;
    pool->lively = true;
    soon__monitor_start(pool);
    soon__seat_open(pool, &seat);
    world_be_born();
    soon__read_reports(pool);
    seat->pace = 0; /* its tasks are short: it may have more than one */
}

void world_end(void)
{
    for (unsigned i = 0; i < WORLD_TASKS; i++) {
        const soon_future *f = &world_task[i];
        uint32_t phase = atomic_load(&f->phase);
        if (!f->submitted)
            continue;
        model_expect(phase > TASK_RUNNING, "a task was lost");
        model_expect(phase != TASK_FINISHED || f->runs == 1, "finished, and never begun");
        model_expect(phase != TASK_FAILED || f->killed || world_n_deaths,
                     "failed, and nobody died");
        model_expect(phase != TASK_CANCELLED || (f->runs == 0 && !f->told),
                     "cancelled, and begun all the same");
    }
    model_expect(world_pool.n_workers == 0 && world_pool.n_alive == 0, "a worker is left");
    world_memory_end();
    world_os_end();
}
