/* SPDX-License-Identifier: MIT */
#include "process_pool.h"

#include "process_pool/pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

void add_over_methods(TCase *tc, const TTest *test)
{
    tcase_add_loop_test(tc, test, SOON_START_FORKSERVER, SOON_START_SPAWN + 1);
}

bool tasks_may_start_threads(int method, const char *what)
{
    char of_forked[128];

    snprintf(of_forked, sizeof of_forked, "%s over forked workers", what);
    return method == SOON_START_SPAWN || forked_may_start_threads(of_forked);
}

void add_over_methods_with_threads(TCase *tc, const TTest *test)
{
    for (int method = SOON_START_FORKSERVER; method <= SOON_START_SPAWN; method++)
        if (tasks_may_start_threads(method, test->name))
            tcase_add_loop_test(tc, test, method, method + 1);
}

void add_over_methods_in_a_busy_program(TCase *tc, const TTest *test)
{
    for (int method = SOON_START_FORKSERVER; method <= SOON_START_SPAWN; method++)
        if (method != SOON_START_FORK || tasks_may_start_threads(method, test->name))
            tcase_add_loop_test(tc, test, method, method + 1);
}

soon_executor *pool_up(int method, const soon_process_pool_options *options)
{
    soon_process_pool_options all = {0};
    soon_executor *ex = NULL;

    if (options)
        all = *options;
    all.start_method = method;
    assert_ok(soon_process_pool_new(&all, &ex));
    ck_assert_ptr_nonnull(ex);
    return ex;
}

soon_executor *one_worker(int method)
{
    return pool_up(method, &(soon_process_pool_options){.max_workers = 1});
}

void stop_monitor(struct pool *pool)
{
    for (;;) {
        soon__lock_acquire(&pool->collecting);
        soon__lock_acquire(&pool->lock);
        bool watching = pool->watching;
        soon__lock_release(&pool->lock);
        if (watching)
            return;
        soon__lock_release(&pool->collecting);
        sched_yield();
    }
}

soon_stats pool_figures(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_executor_stats(ex, &stats));
    return stats;
}

void pool_down(soon_executor *ex, uint64_t submitted)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(pool_figures(ex).workers, 0);
    ck_assert_uint_eq(workers_of("soon", NULL, 0), 0);
    assert_stats_add_up(ex, submitted);
    soon_executor_unref(ex);
}

soon_future *submit_named(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len,
                          const char *name, soon_ns timeout)
{
    const soon_task task = {
        .fn = fn, .arg = arg, .arg_len = arg_len, .name = name, .timeout = timeout};
    soon_future *f = NULL;

    assert_ok(soon_submit_task(ex, &task, &f));
    ck_assert_ptr_nonnull(f);
    return f;
}

bool is_worker_of(const struct process *process, const char *name)
{
    const char *number = process->name + strlen(name) + 1;
    char *end;

    if (strncmp(process->name, name, strlen(name)) != 0 || number[-1] != '-' || *number < '0' ||
        *number > '9')
        return false;
    strtoul(number, &end, 10);
    return *end == '\0';
}

size_t workers_of(const char *name, struct process *out, size_t max)
{
    struct process all[64];
    size_t n = processes_of_test(name, all, 64), found = 0;

    REQUIRE(n <= 64);
    for (size_t i = 0; i < n; i++)
        if (is_worker_of(&all[i], name) && found++ < max)
            out[found - 1] = all[i];
    return found;
}

void pool_await_workers(soon_executor *ex, unsigned workers)
{
    struct pool *pool = (struct pool *)ex;

    for (bool all = false; !all; sched_yield()) {
        soon__lock_acquire(&pool->lock);
        all = pool->n_workers == workers && pool->n_alive == workers;
        soon__lock_release(&pool->lock);
    }
}

void await_gone(pid_t pid)
{
    while (process_lives(pid))
        sched_yield();
}

/* ---- tasks ---- */

struct board *board(void)
{
    _Static_assert(sizeof(struct board) <= SHARED_PAGE, "the board is too large");
    return shared_page();
}

int task_pid(soon_call *call, const void *arg, size_t arg_len)
{
    const pid_t pid = getpid();

    (void)arg;
    (void)arg_len;
    return soon_return(call, &pid, sizeof pid);
}

pid_t pid_of(soon_future *f)
{
    pid_t pid = 0;

    assert_ok(soon_future_result(f, SOON_FOREVER, &pid, sizeof pid));
    ck_assert_int_gt(pid, 0);
    return pid;
}

void assert_pid(soon_future *f, pid_t expected)
{
    ck_assert_int_eq(pid_of(f), expected);
}

int task_tick(soon_call *call, const void *arg, size_t arg_len)
{
    int index;

    (void)call;
    REQUIRE(arg_len == sizeof index);
    memcpy(&index, arg, sizeof index);
    atomic_fetch_add(&board()->count[index], 1);
    return 0;
}

int task_perch(soon_call *call, const void *arg, size_t arg_len)
{
    atomic_store(&board()->pid[0], getpid());
    return task_hold(call, arg, arg_len);
}

pid_t perch(soon_executor *ex, const struct hold *hold, soon_future **f)
{
    assert_ok(soon_submit(ex, task_perch, hold, sizeof *hold, f));
    bell_await(hold->started, 1);
    return atomic_load(&board()->pid[0]);
}

int task_for_ever(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    (void)arg;
    (void)arg_len;
    for (;;)
        pause();
}

/* ---- deaths ---- */

static volatile int depth; /* of which there is no end, which the compiler can't know */

static int dig(volatile char *above)
{
    volatile char here[4096];

    here[0] = above[0];
    here[sizeof here - 1] = 1;
    return ++depth < 0 ? 0 : dig(here) + here[0];
}

/* A process that leaves in the middle of its work has memory that nobody holds.
 * Asked by the leak sanitizer, where there is one. */
static bool is_leaving;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return is_leaving;
}

/* A sanitizer's handlers would turn a signal into an exit code. */
static void die_by(int signal_number)
{
    signal(signal_number, SIG_DFL);
}

int task_die(soon_call *call, const void *arg, size_t arg_len)
{
    const struct rlimit no_core = {0, 0};
    enum death how;

    REQUIRE(arg_len == sizeof how);
    memcpy(&how, arg, sizeof how);
    setrlimit(RLIMIT_CORE, &no_core);
    is_leaving = true;
    if (death_signal(how) && how != DIE_KILL)
        die_by(death_signal(how));
    switch (how) {
    case DIE_SEGV:
        *(volatile char *)mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) = 1;
        break;
    case DIE_ABORT:
        abort();
    case DIE_EXIT:
        exit(3);
    case DIE__EXIT:
        _exit(4);
    case DIE_QUIETLY:
        _exit(0);
    case DIE_KILL:
        kill(getpid(), SIGKILL);
        break;
    case DIE_FPE:
        raise(SIGFPE);
        break;
    case DIE_STACK:
        return dig(&(volatile char){1});
    case DEATHS:
        break;
    }
    return soon_fail(call, -EPROTO, "survived");
}

soon_future *submit_death(soon_executor *ex, enum death how)
{
    return submit_named(ex, task_die, &how, sizeof how, "decode", 0);
}

static const struct {
    const char *name;
    int signal, code;
} deaths[DEATHS] = {
    [DIE_SEGV] = {"SIGSEGV", SIGSEGV, 0},
    [DIE_ABORT] = {"SIGABRT", SIGABRT, 0},
    [DIE_EXIT] = {"3", 0, 3},
    [DIE__EXIT] = {"4", 0, 4},
    [DIE_QUIETLY] = {"0", 0, 0},
    [DIE_KILL] = {"SIGKILL", SIGKILL, 0},
    [DIE_FPE] = {"SIGFPE", SIGFPE, 0},
    [DIE_STACK] = {"SIGSEGV", SIGSEGV, 0},
};

int death_signal(enum death how)
{
    return deaths[how].signal;
}

int death_code(enum death how)
{
    return deaths[how].code;
}

const char *death_name(enum death how)
{
    return deaths[how].name;
}

/* ---- assertions ---- */

void assert_owner_dead(soon_future *f, int signal, int exit_code, const char *const words[])
{
    soon_error error;

    memset(&error, 0xee, sizeof error);
    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(error.code == -EOWNERDEAD, "%d: %s", error.code, error.message);
    ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
    ck_assert_int_eq(error.signal, signal);
    ck_assert_int_eq(error.exit_code, exit_code);
    ck_assert_int_eq(soon_future_state(f), SOON_FINISHED);
    for (; words && *words; words++)
        ck_assert_msg(strstr(error.message, *words), "no %s in \"%s\"", *words, error.message);
}

void assert_library_error(soon_future *f, int code)
{
    soon_error error;

    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(error.code == code, "%d: %s", error.code, error.message);
    ck_assert_int_eq(error.origin, SOON_FROM_LIBRARY);
}

void assert_works(soon_executor *ex)
{
    soon_future *f = submit_int(ex, task_square, 12);

    assert_result_int(f, 144);
    soon_future_unref(f);
}

void assert_broken(soon_executor *ex, const char *words)
{
    soon_future *untouched = (soon_future *)ex, *f = untouched;
    const soon_task task = {.fn = task_nothing};

    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &f), -ENOTRECOVERABLE);
    ck_assert_msg(strstr(soon_last_error(), words), "no %s in \"%s\"", words, soon_last_error());
    ck_assert_int_eq(soon_submit_task(ex, &task, &f), -ENOTRECOVERABLE);
    ck_assert_int_eq(soon_submit_many(ex, &task, 1, &f), -ENOTRECOVERABLE);
    ck_assert_msg(strstr(soon_last_error(), words), "no %s in \"%s\"", words, soon_last_error());
    ck_assert_ptr_eq(f, untouched);
}
