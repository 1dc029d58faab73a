/* SPDX-License-Identifier: MIT */
/*
 * What the pool's user does, up to the end that is the same for all of them.
 */
#include "fuzz.h"

#include "os/inject.h"

#include <errno.h>
#include <string.h>

static soon_executor *ex;  /* NULL once it has been dropped */
static uint64_t submitted; /* tasks that were accepted */
static int end_mode;

void __real_soon_executor_fini(soon_executor *executor);
void __wrap_soon_executor_fini(soon_executor *executor);

void __wrap_soon_executor_fini(soon_executor *executor)
{
    if (fuzz_pool && executor == &fuzz_pool->ex)
        fuzz_pool = NULL;
    __real_soon_executor_fini(executor);
}

/* Nobody ever calls it. */
static int work(soon_call *call, const void *arg, size_t len)
{
    (void)call, (void)arg, (void)len;
    return 0;
}

/* ---- submit ---- */

enum habit { HABIT_NONE, HABIT_CANCEL, HABIT_SUBMIT, HABIT_LOOK, HABIT_SHUT, HABITS };

/* A reference of the caller's own, since another thread may drop the task's. */
static soon_future *hold(const struct fuzz_task *task)
{
    return task->future ? soon_future_ref(task->future) : NULL;
}

/* The same; NULL once the program has dropped its own. */
static soon_executor *hold_executor(void)
{
    return ex ? soon_executor_ref(ex) : NULL;
}

static void done(soon_future *f, void *data)
{
    struct fuzz_task *task = data;
    soon_future *other = hold(&fuzz_tasks[(size_t)(task - fuzz_tasks + 1) % FUZZ_TASKS]);
    soon_executor *mine = hold_executor();

    task->calls++;
    REQUIRE(soon_future_done(f), "a callback is called when the task is done");
    if (task->habit == HABIT_CANCEL && other)
        soon_future_cancel(other);
    if (task->habit == HABIT_LOOK && other)
        soon_future_state(other);
    if (task->habit == HABIT_SUBMIT && mine)
        submitted += soon_submit(mine, work, NULL, 0, NULL) == 0;
    if (task->habit == HABIT_SHUT && mine)
        soon_shutdown(mine, 0, SOON_CANCEL_FUTURES);
    soon_future_unref(other);
    soon_executor_unref(mine);
}

static struct fuzz_task *free_task(void)
{
    for (int i = 0; i < FUZZ_TASKS; i++)
        if (!fuzz_tasks[i].future && !fuzz_tasks[i].taken &&
            fuzz_tasks[i].calls == fuzz_tasks[i].called)
            return &fuzz_tasks[i];
    return NULL;
}

static soon_task new_task(void)
{
    static unsigned char argument[SOON__SLAB_MAX + 1];
    static const size_t size[] = {0,    8,           48,     SOON__ARG_SMALL, SOON__ARG_SMALL + 1,
                                  1025, SOON__BLOCK, 600000, SOON__SLAB_MAX,  SOON__SLAB_MAX + 1};
    uint8_t how = fuzz_byte(), extra = fuzz_byte();
    soon_task task = {.fn = work, .arg = argument, .priority = (extra & 3) - 1};

    task.arg_len = how < 0xe0 ? size[how % 5] : size[how % 10];
    if (task.priority > SOON_PRIORITY_HIGH)
        task.priority = SOON_PRIORITY_NORMAL;
    if (extra & 4)
        task.name = "task";
    if (extra & 8)
        task.timeout = SOON_MS(fuzz_byte() + 1);
    return task;
}

static void follow(struct fuzz_task *task, soon_future *f, soon_ns timeout, uint8_t how)
{
    *task = (struct fuzz_task){.future = f, .timeout = timeout, .habit = how % HABITS};
    if (how & 0x80)
        task->called = soon_future_add_done_callback(f, done, task) == 0;
    fuzz_trace("    that is task %d", (int)(task - fuzz_tasks));
}

/* A task that is not followed can't be judged but by its being counted. */
static void submit(void)
{
    struct fuzz_task *task = free_task();
    soon_task what = new_task();
    uint8_t how = fuzz_byte();
    soon_executor *mine = hold_executor();
    soon_future *f = NULL;

    if (task)
        task->taken = true;
    int error = mine ? soon_submit_task(mine, &what, task ? &f : NULL) : -ESHUTDOWN;
    submitted += error == 0;
    if (task)
        task->taken = false;
    if (task && !error)
        follow(task, f, what.timeout, how);
    soon_executor_unref(mine);
}

static void submit_many(void)
{
    enum { MANY = 8 };
    soon_task tasks[MANY];
    soon_future *futures[MANY];
    size_t n = fuzz_byte() % MANY + 1u;
    uint8_t how = fuzz_byte();
    soon_executor *mine = hold_executor();

    tasks[0] = new_task();
    for (size_t i = 1; i < n; i++)
        tasks[i] = tasks[0];
    int error = mine ? soon_submit_many(mine, tasks, n, futures) : -ESHUTDOWN;
    submitted += error ? 0 : n;
    for (size_t i = 0; i < n && !error; i++) {
        struct fuzz_task *task = free_task();
        if (task)
            follow(task, futures[i], tasks[0].timeout, how);
        else
            soon_future_unref(futures[i]);
    }
    soon_executor_unref(mine);
}

/* ---- with a future ---- */

static struct fuzz_task *some_task(void)
{
    return &fuzz_tasks[fuzz_byte() % FUZZ_TASKS];
}

/* Another thread may have been first, and then a task that is cancelled is so
 * before its callbacks have run. */
static void cancel(void)
{
    soon_future *f = hold(some_task());

    if (f)
        REQUIRE(soon_future_cancel(f) == soon_future_cancelled(f),
                "cancel says whether it is cancelled");
    soon_future_unref(f);
}

static void kill_task(void)
{
    soon_future *f = hold(some_task());

    if (f && soon_future_kill(f) == 0)
        REQUIRE(soon_future_done(f), "a task that was killed is done");
    soon_future_unref(f);
}

static void look_at(void)
{
    soon_future *f = hold(some_task());

    if (f)
        soon_future_state(f);
    soon_future_unref(f);
}

static void progress(void)
{
    soon_future *f = hold(some_task());
    uint64_t is_done, total;

    if (f)
        REQUIRE(soon_future_progress(f, &is_done, &total) == 0, "progress is told");
    soon_future_unref(f);
}

/* For a while, in which perhaps nobody works. */
static void wait_for(void)
{
    soon_future *f = hold(some_task());
    uint8_t how = fuzz_byte();

    if (!f)
        return;
    if (fuzz_is_main())
        fuzz_nobody_helps = how & 1;
    int error = soon_future_wait(f, SOON_MS(how));
    if (fuzz_is_main())
        fuzz_nobody_helps = false;
    REQUIRE(error == 0 || error == -ETIMEDOUT, "a wait ends");
    REQUIRE(error || soon_future_done(f), "and the task is done");
    soon_future_unref(f);
}

static void drop(void)
{
    struct fuzz_task *task = some_task();

    if (task->future)
        fuzz_drop(task);
}

/* ---- with the pool ---- */

static void stats(void)
{
    soon_executor *mine = hold_executor();
    soon_stats figures;

    if (mine)
        REQUIRE(soon_executor_stats(mine, &figures) == 0, "there are figures");
    soon_executor_unref(mine);
}

static void shut_down(void)
{
    uint8_t how = fuzz_byte();
    soon_executor *mine = how < 0x80 ? NULL : hold_executor();

    if (!mine)
        return;
    if (fuzz_is_main())
        fuzz_nobody_helps = how & 1;
    soon_shutdown(mine, SOON_MS(how & 0x3c), how & 0x40 ? SOON_CANCEL_FUTURES : 0);
    if (fuzz_is_main())
        fuzz_nobody_helps = false;
    soon_executor_unref(mine);
}

static void stop(void)
{
    uint8_t how = fuzz_byte();
    soon_executor *mine = how < 0xc0 ? NULL : hold_executor();

    if (mine)
        REQUIRE((how & 1 ? soon_process_pool_kill_workers(mine)
                         : soon_process_pool_terminate_workers(mine)) == 0,
                "workers are stopped");
    soon_executor_unref(mine);
}

static void drop_pool(void)
{
    soon_executor *last = fuzz_byte() < 0xc0 ? NULL : ex;

    if (last)
        ex = NULL;
    soon_executor_unref(last);
}

static void *be_another_thread(void *unused)
{
    (void)unused;
    fuzz_do_elsewhere();
    return NULL;
}

static void in_another_thread(void)
{
    fuzz_start_thread(be_another_thread, NULL);
}

/* ---- around it ---- */

static void let_run(void)
{
    uint8_t how = fuzz_byte();
    unsigned n = how % 4u + 1;

    fuzz_run_from(how / 4);
    while (n-- && fuzz_run_one())
        ;
}

static void pass_time(void)
{
    fuzz_pass_time((soon_ns)fuzz_byte() * (soon_ns)fuzz_byte() * 20000);
}

static void pass_to_deadline(void)
{
    fuzz_pass_to_deadline();
}

static void lie_in_ambush(void)
{
    fuzz_ambush(fuzz_byte() % 32u + 1);
}

static void preempt(void)
{
    uint8_t n = fuzz_byte();

    fuzz_preempt(n < 0x80 ? n : n % 0x80 * 16u);
}

static void want(void)
{
    static const enum soon__inject_point point[] = {SOON__INJECT_ALLOC, SOON__INJECT_EVENTFD,
                                                    SOON__INJECT_MEMFD, SOON__INJECT_MMAP,
                                                    SOON__INJECT_SOCKET};
    uint8_t how = fuzz_byte();

    soon__inject_after(point[how % 5u], fuzz_byte() % 16 + 1);
    if (how & 0x80)
        fuzz_no_threads = !fuzz_no_threads;
}

/* By number, which tapes rely on: new ones go where it is empty. */
static const struct fuzz_operation operations[FUZZ_OPERATIONS] = {
    {"submit", submit, FUZZ_ANYWHERE},
    {"submit", submit, FUZZ_ANYWHERE},
    {"submit", submit, FUZZ_ANYWHERE},
    {"submit many", submit_many, FUZZ_ANYWHERE},
    {"let threads run", let_run, FUZZ_MAIN},
    {"let threads run", let_run, FUZZ_MAIN},
    {"let threads run", let_run, FUZZ_MAIN},
    {"cancel", cancel, FUZZ_ANYWHERE},
    {"kill", kill_task, FUZZ_ANYWHERE},
    {"look", look_at, FUZZ_ANYWHERE},
    {"progress", progress, FUZZ_ANYWHERE},
    {"wait", wait_for, FUZZ_ANYWHERE},
    {"drop", drop, FUZZ_ANYWHERE},
    {"stats", stats, FUZZ_ANYWHERE},
    {"shut down", shut_down, FUZZ_ANYWHERE},
    {"stop", stop, FUZZ_ANYWHERE},
    {"pass time", pass_time, FUZZ_MAIN},
    {"pass to a deadline", pass_to_deadline, FUZZ_MAIN},
    {"lie in ambush", lie_in_ambush, FUZZ_ANYWHERE},
    {"lie in ambush", lie_in_ambush, FUZZ_ANYWHERE},
    {"preempt", preempt, FUZZ_ANYWHERE},
    {"preempt", preempt, FUZZ_ANYWHERE},
    {"want", want, FUZZ_ANYWHERE},
    {"submit", submit, FUZZ_ANYWHERE},
    {"let threads run", let_run, FUZZ_MAIN},
    {"let threads run", let_run, FUZZ_MAIN},
    {"cancel", cancel, FUZZ_ANYWHERE},
    {"preempt", preempt, FUZZ_ANYWHERE},
    {"drop the pool", drop_pool, FUZZ_ANYWHERE},
    {"in another thread", in_another_thread, FUZZ_MAIN},
    {"in another thread", in_another_thread, FUZZ_MAIN},
};

const struct fuzz_operation *fuzz_program_operation(uint8_t number)
{
    const struct fuzz_operation *operation = &operations[number % FUZZ_OPERATIONS];

    return operation->run && (operation->where != FUZZ_MAIN || fuzz_is_main()) ? operation : NULL;
}

/* ---- begin and end ---- */

static void want_nothing(void)
{
    for (int i = 0; i < SOON__INJECT_POINTS; i++)
        soon__inject_after((enum soon__inject_point)i, 0);
}

bool fuzz_program_begin(void)
{
    uint8_t how = fuzz_byte(), limits = fuzz_byte();
    soon_process_pool_options options = {
        .max_workers = how % FUZZ_WORKERS + 1u,
        .start_method = SOON_START_FORK,
        .max_tasks_per_child = limits & 3,
        .max_pending = limits >> 2 & 3,
        .overflow = how & 0x80 ? SOON_BLOCK : SOON_REJECT,
        .initializer = how & 0x10 ? work : NULL,
        .finalizer = how & 0x20 ? work : NULL,
        .init_arg = "argument",
        .init_arg_len = 8,
        .max_restarts = limits >> 4 & 3,
        .restart_window = limits & 0xc0 ? SOON_SECONDS(1) : 0,
        .flags = how & 0x40 ? SOON_BREAK_ON_DEATH : 0,
    };

    submitted = 0;
    memset(fuzz_tasks, 0, sizeof fuzz_tasks);
    end_mode = fuzz_byte();
    want_nothing();
    if (end_mode & 0x80)
        soon__inject_after(SOON__INJECT_ALLOC, fuzz_byte() % 16);
    ex = NULL;
    fuzz_pool = NULL;
    if (soon_process_pool_new(&options, &ex) != 0)
        return false;
    fuzz_pool = (struct pool *)ex;
    return true;
}

/* All of them end alike: no task is left, nor a thread, nor a worker. */
void fuzz_program_end(void)
{
    want_nothing();
    fuzz_note();
    if (ex && end_mode & 1)
        soon_process_pool_kill_workers(ex);
    if (ex && end_mode & 2)
        soon_shutdown(ex, SOON_FOREVER, end_mode & 4 ? SOON_CANCEL_FUTURES : 0);
    soon_executor *last = ex;
    ex = NULL;
    soon_executor_unref(last);
    fuzz_audit();
    fuzz_run_out();
    fuzz_judge_end(submitted);
    for (int i = 0; i < FUZZ_TASKS; i++) {
        struct fuzz_task *task = &fuzz_tasks[end_mode & 8 ? i : FUZZ_TASKS - 1 - i];
        if (task->future)
            fuzz_drop(task);
    }
    REQUIRE(!fuzz_pool, "the pool is gone with the last of its futures");
}
