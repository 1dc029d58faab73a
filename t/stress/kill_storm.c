/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL, and now and then SIGSTOP before it, for random processes of a
 * process pool at random moments: workers, and those between them and the
 * program. Meanwhile threads submit, cancel, kill and wait. Each future ends
 * exactly once, with its right result or as one that lost its worker; a task
 * runs at most once; the figures add up; and nothing is left behind.
 */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SUBMITTERS = 2, WINDOW = 48, PROCESSES = 4096, LARGE = 1500000 };

/* How often each task of a window has run; memory that forked workers share,
 * and nothing where they are spawned. */
typedef atomic_uint runs[SUBMITTERS][WINDOW];

static struct {
    soon_executor *ex;
    runs *ran;
    atomic_bool over;
    atomic_ullong submitted, right, lost, cancelled, late, callbacks;
    unsigned long long kills, stops, twins;
} storm;

static unsigned char large[LARGE];

/* ---- tasks ---- */

struct order {
    atomic_uint *ran; /* or NULL */
    unsigned seed;
    unsigned len; /* of the result */
};

static unsigned char byte_of(unsigned seed, size_t i)
{
    return (unsigned char)(seed * 31 + i * 7 + i / 251);
}

static int deliver(soon_call *call, const void *arg, size_t arg_len)
{
    struct order order;
    unsigned char *room;

    if (arg_len < sizeof order)
        return soon_fail(call, -EINVAL, "%zu bytes", arg_len);
    memcpy(&order, arg, sizeof order);
    if (order.ran)
        atomic_fetch_add(order.ran, 1);
    for (size_t i = sizeof order; i < arg_len; i += 4093)
        if (((const unsigned char *)arg)[i] != large[i])
            return soon_fail(call, -EILSEQ, "byte %zu of %zu differs", i, arg_len);
    room = soon_return_buffer(call, order.len);
    if (!room)
        return soon_fail(call, -ENOMEM, "no room for %u bytes", order.len);
    for (size_t i = 0; i < order.len; i++)
        room[i] = byte_of(order.seed, i);
    return 0;
}

static bool is_right(const void *value, size_t len, const struct order *order)
{
    const unsigned char *bytes = value;

    if (len != order->len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_of(order->seed, i))
            return false;
    return true;
}

/* ---- submitting ---- */

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    REQUIRE_EQ(atomic_fetch_add((atomic_uint *)data, 1), 0);
    atomic_fetch_add(&storm.callbacks, 1);
}

/* Mostly small, some that need shared memory, a few that need a file. */
static unsigned random_length(stress_rng *rng)
{
    unsigned kind = stress_random(rng, 100);

    return kind < 80   ? stress_random(rng, 200)
           : kind < 97 ? stress_random(rng, 100000)
                       : stress_random(rng, LARGE);
}

/* A task with a random argument behind its order; false: refused for now, since
 * no worker can be had. */
static bool submit_one(const struct order *order, stress_rng *rng, soon_future **out)
{
    static _Thread_local unsigned char arg[LARGE];
    size_t len = sizeof *order + random_length(rng);
    soon_task task = {.fn = deliver, .arg = arg, .arg_len = len < LARGE ? len : LARGE};
    int error;

    memcpy(arg, large, task.arg_len);
    memcpy(arg, order, sizeof *order);
    if (stress_random(rng, 20) == 0)
        task.timeout = 1000 + stress_random(rng, 3000000);
    error = soon_submit_task(storm.ex, &task, out);
    if (error && error != -EAGAIN) {
        fprintf(stderr, "a submit said %d: %s\n", error, soon_last_error());
        REQUIRE_EQ(error, 0);
    }
    return error == 0;
}

static void meddle(soon_future **futures, stress_rng *rng)
{
    for (unsigned n = stress_random(rng, WINDOW / 2); n > 0; n--) {
        soon_future *f = futures[stress_random(rng, WINDOW)];
        int error;

        if (!f)
            continue;
        if (stress_random(rng, 8) > 0) {
            soon_future_cancel(f);
            continue;
        }
        error = soon_future_kill(f);
        REQUIRE(error == 0 || error == -EALREADY);
    }
}

static void complain(soon_future *f)
{
    soon_error error;

    if (soon_future_error(f, 0, &error) == 0)
        fprintf(stderr, "a future ended with %d: %s\n", error.code, error.message);
}

static void check_one(soon_future *f, const struct order *order, unsigned times)
{
    const void *value;
    size_t len;
    int code = soon_future_value(f, SOON_FOREVER, &value, &len);

    REQUIRE(times <= 1);
    switch (code) {
    case 0:
        REQUIRE(is_right(value, len, order));
        REQUIRE(!order->ran || times == 1);
        atomic_fetch_add(&storm.right, 1);
        break;
    case -EOWNERDEAD:
        atomic_fetch_add(&storm.lost, 1);
        break;
    case -ECANCELED:
        REQUIRE_EQ(times, 0);
        atomic_fetch_add(&storm.cancelled, 1);
        break;
    case -ETIME:
        atomic_fetch_add(&storm.late, 1);
        break;
    default:
        complain(f);
        REQUIRE_EQ(code, 0);
    }
}

static void run_window(unsigned me, stress_rng *rng)
{
    soon_future *futures[WINDOW] = {NULL};
    struct order orders[WINDOW];
    atomic_uint calls[WINDOW];

    for (unsigned i = 0; i < WINDOW; i++) {
        atomic_init(&calls[i], 0);
        orders[i] = (struct order){storm.ran ? &(*storm.ran)[me][i] : NULL,
                                   stress_random(rng, 1000000), random_length(rng)};
        if (orders[i].ran)
            atomic_store(orders[i].ran, 0);
        if (!submit_one(&orders[i], rng, &futures[i]))
            continue;
        atomic_fetch_add(&storm.submitted, 1);
        REQUIRE_EQ(soon_future_add_done_callback(futures[i], count_call, &calls[i]), 0);
    }
    meddle(futures, rng);
    for (unsigned i = 0; i < WINDOW; i++) {
        if (!futures[i])
            continue;
        REQUIRE_EQ(soon_future_wait(futures[i], SOON_FOREVER), 0);
        while (atomic_load(&calls[i]) == 0) /* the callback runs a moment later */
            sched_yield();
        check_one(futures[i], &orders[i], orders[i].ran ? atomic_load(orders[i].ran) : 0);
        soon_future_unref(futures[i]);
    }
}

static void *submit_them(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    stress_rng rng = stress_rng_new(1000 + me);

    while (!atomic_load(&storm.over))
        run_window(me, &rng);
    return NULL;
}

/* ---- killing ---- */

struct process {
    pid_t pid, parent;
    char state;
    bool is_ours;
};

/* Reads a file below /proc without libc's locks: see kill_twin(). */
static bool read_file(const char *pid, const char *file, char *text, size_t size)
{
    char path[300];
    ssize_t got;
    int fd;

    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, text, size - 1);
    close(fd);
    text[got < 0 ? 0 : got] = '\0';
    return got > 0;
}

static bool read_process(const char *name, struct process *out)
{
    char line[512], state;
    const char *end;
    int parent;

    if (!read_file(name, "stat", line, sizeof line))
        return false;
    end = strrchr(line, ')');
    if (!end || sscanf(end, ") %c %d", &state, &parent) != 2 || state == 'Z')
        return false;
    *out = (struct process){.pid = (pid_t)atol(name), .parent = parent, .state = state};
    return out->pid > 0;
}

/* The living processes below this one; out has room for PROCESSES. */
static unsigned descendants(struct process *out)
{
    static struct process all[PROCESSES];
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    unsigned n = 0, found = 0;
    bool more = true;

    REQUIRE(proc);
    while ((entry = readdir(proc)) != NULL && n < PROCESSES)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            n += read_process(entry->d_name, &all[n]);
    closedir(proc);
    while (more) {
        more = false;
        for (unsigned i = 0; i < n; i++) {
            bool is_child = all[i].parent == getpid();

            for (unsigned k = 0; k < found && !is_child; k++)
                is_child = out[k].pid == all[i].parent;
            if (all[i].is_ours || !is_child)
                continue;
            all[i].is_ours = more = true;
            out[found++] = all[i];
        }
    }
    return found;
}

/* Orphans are our children here, see main(); children of the pool's own are
 * not. */
static void reap_orphans(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

/* Does it wait for something to happen, or for a child? */
static bool is_waiting(const char *pid)
{
    /* The first is what poll() has become that was stopped once before. */
    static const long waits[] = {SYS_restart_syscall, SYS_ppoll, SYS_waitid, SYS_wait4,
#ifdef SYS_poll
                                 SYS_poll
#endif
    };
    char text[200], *end;
    long number;

    if (!read_file(pid, "syscall", text, sizeof text))
        return false;
    number = strtol(text, &end, 10);
    for (unsigned i = 0; end != text && i < sizeof waits / sizeof waits[0]; i++)
        if (number == waits[i])
            return true;
    return false;
}

/* The program's own child shares its memory: to kill it in the middle of a fork
 * is to kill a thread of the program with its locks. It is stopped, and killed
 * if it was waiting; until then it may hold any lock of libc's. */
static bool kill_twin(const struct process *twin)
{
    struct process now = {.state = 'R'};
    bool killed = false;
    char name[16];

    snprintf(name, sizeof name, "%d", (int)twin->pid);
    if (kill(twin->pid, SIGSTOP) != 0)
        return false;
    while (now.state != 'T' && read_process(name, &now))
        sched_yield();
    if (now.state == 'T' && is_waiting(name))
        killed = kill(twin->pid, SIGKILL) == 0;
    if (!killed)
        kill(twin->pid, SIGCONT);
    return killed;
}

static void kill_one(stress_rng *rng)
{
    static struct process ours[PROCESSES];
    unsigned n = descendants(ours);
    const struct process *victim = &ours[n ? stress_random(rng, n) : 0];

    if (n == 0)
        return;
    if (victim->parent == getpid()) {
        bool killed = kill_twin(victim);

        storm.kills += killed;
        storm.twins += killed;
        return;
    }
    if (stress_random(rng, 10) == 0) {
        storm.stops += kill(victim->pid, SIGSTOP) == 0;
        stress_spin(stress_random(rng, 2000000));
    }
    storm.kills += kill(victim->pid, SIGKILL) == 0;
    reap_orphans();
}

/* ---- one storm ---- */

static unsigned open_descriptors(void)
{
    DIR *fds = opendir("/proc/self/fd");
    unsigned n = 0;

    REQUIRE(fds);
    while (readdir(fds))
        n++;
    closedir(fds);
    return n;
}

static void require_nothing_left(unsigned descriptors)
{
    static struct process left[PROCESSES];
    const uint64_t deadline = stress_now() + 5000000000u;

    while (descendants(left) > 0 || open_descriptors() > descriptors) {
        reap_orphans();
        REQUIRE(stress_now() < deadline);
        sched_yield();
    }
}

static void require_figures(void)
{
    soon_stats stats;

    REQUIRE_EQ(soon_executor_stats(storm.ex, &stats), 0);
    stress_require_balance(storm.ex, atomic_load(&storm.submitted));
    REQUIRE_EQ(stats.finished, atomic_load(&storm.right));
    REQUIRE_EQ(stats.failed, atomic_load(&storm.lost));
    REQUIRE_EQ(stats.cancelled, atomic_load(&storm.cancelled));
    REQUIRE_EQ(stats.timed_out, atomic_load(&storm.late));
    REQUIRE_EQ(atomic_load(&storm.callbacks), atomic_load(&storm.submitted));
    REQUIRE_EQ(stats.workers, 0);
}

static void run_storm(int method, unsigned long long kills, stress_rng *rng)
{
    const soon_process_pool_options options = {.max_workers = 3,
                                               .start_method = method,
                                               .max_restarts = 1000000,
                                               .restart_window = 1,
                                               .kill_grace = SOON_MS(20)};
    unsigned descriptors = open_descriptors();
    pthread_t threads[SUBMITTERS];

    REQUIRE_EQ(soon_process_pool_new(&options, &storm.ex), 0);
    for (uintptr_t i = 0; i < SUBMITTERS; i++)
        stress_spawn(&threads[i], submit_them, (void *)i);
    while (storm.kills < kills) {
        stress_spin(stress_random(rng, 4000000));
        kill_one(rng);
    }
    atomic_store(&storm.over, true);
    for (unsigned i = 0; i < SUBMITTERS; i++)
        stress_join(threads[i]);
    REQUIRE_EQ(soon_shutdown(storm.ex, SOON_FOREVER, 0), 0);
    require_figures();
    soon_executor_unref(storm.ex);
    require_nothing_left(descriptors);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"fork server", "fork", "spawn"};
    unsigned long long kills = stress_processes(150), all = 0, tasks = 0;
    runs *ran = mmap(NULL, sizeof *ran, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    for (size_t i = 0; i < LARGE; i++)
        large[i] = (unsigned char)(i * 13 + i / 256);
    REQUIRE_EQ(soon_init(argc, argv), 0);
    REQUIRE(ran != MAP_FAILED);
    /* So that orphans can be found. */
    REQUIRE_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    stress_begin("stress/kill_storm");
    for (int method = SOON_START_FORKSERVER; method <= SOON_START_SPAWN; method++) {
        stress_rng rng = stress_rng_new((uint64_t)method);

        memset(&storm, 0, sizeof storm);
        storm.ran = method == SOON_START_SPAWN ? NULL : ran;
        run_storm(method, kills, &rng);
        printf("  %s: %llu tasks, %llu right, %llu lost, %llu cancelled, %llu late; "
               "%llu killed, %llu stopped first, %llu twins\n",
               names[method], (unsigned long long)atomic_load(&storm.submitted),
               (unsigned long long)atomic_load(&storm.right),
               (unsigned long long)atomic_load(&storm.lost),
               (unsigned long long)atomic_load(&storm.cancelled),
               (unsigned long long)atomic_load(&storm.late), storm.kills, storm.stops, storm.twins);
        fflush(stdout);
        all += storm.kills;
        tasks += atomic_load(&storm.submitted);
    }
    return stress_end("%llu processes killed under %llu tasks", all, tasks);
}
