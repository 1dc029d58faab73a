/* SPDX-License-Identifier: MIT */
/*
 * The program that has a process pool does not notice: no child, no signal, no
 * descriptor over an exec, no file.
 */
#include "process_pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Everything that happens to workers: work, crashes, timeouts, replacements,
 * a shutdown. Returns how many tasks it submitted. */
static uint64_t lead_a_full_life(soon_executor *ex)
{
    soon_future *f[6];

    f[0] = submit_int(ex, task_square, 2);
    f[1] = submit_death(ex, DIE_SEGV);
    f[2] = submit_named(ex, task_for_ever, NULL, 0, NULL, SOON_MS(5));
    f[3] = submit_death(ex, DIE_EXIT);
    f[4] = submit(ex, task_for_ever, NULL, 0);
    f[5] = submit_int(ex, task_square, 3);
    for (int i = 0; i < 4; i++)
        assert_ok(soon_future_wait(f[i], SOON_FOREVER));
    while (!soon_future_running(f[4]))
        sched_yield();
    assert_ok(soon_future_kill(f[4]));
    assert_result_int(f[5], 9);
    unref_all(f, 6);
    return 6;
}

static soon_executor *busy_pool(int method)
{
    return pool_up(method, &(soon_process_pool_options){
                               .max_workers = 2, .max_tasks_per_child = 2, .kill_grace = 1});
}

/* ---- children and signals ---- */

static void assert_no_children(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    ck_assert_int_eq(wait(NULL), -1);
    ck_assert_int_eq(errno, ECHILD);
}

static void count_signal(int signal_number)
{
    (void)signal_number;
    atomic_fetch_add(&board()->count[0], 1);
}

/* With each way of treating SIGCHLD that a program may have. */
START_TEST(it_has_no_children_and_gets_no_sigchld)
{
    const struct sigaction ways[] = {
        {.sa_handler = count_signal},
        {.sa_handler = count_signal, .sa_flags = SA_NOCLDWAIT},
        {.sa_handler = SIG_DFL},
        {.sa_handler = SIG_IGN},
    };

    for (int i = 0; i < 4; i++) {
        soon_executor *ex;
        uint64_t n;

        REQUIRE(sigaction(SIGCHLD, &ways[i], NULL) == 0);
        ex = busy_pool(_i);
        assert_no_children();
        n = lead_a_full_life(ex);
        assert_no_children();
        pool_down(ex, n);
        assert_no_children();
        ck_assert_uint_eq(board()->count[0], 0);
    }
    REQUIRE(sigaction(SIGCHLD, &ways[2], NULL) == 0);
}
END_TEST

START_TEST(its_own_children_are_its_own)
{
    soon_executor *ex = busy_pool(_i);
    uint64_t n = 0;

    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0)
            _exit(40 + i);
        n += lead_a_full_life(ex);
        ck_assert_int_eq(waitpid(-1, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 40 + i);
        assert_no_children();
    }
    pool_down(ex, n);
}
END_TEST

enum { SIGNALS = 64 };

struct dispositions {
    void (*handler[SIGNALS + 1])(int);
    sigset_t blocked;
};

static struct dispositions dispositions_now(void)
{
    struct dispositions now;
    struct sigaction action;

    memset(&now, 0, sizeof now);
    for (int i = 1; i <= SIGNALS; i++)
        if (sigaction(i, NULL, &action) == 0)
            now.handler[i] = action.sa_handler;
    REQUIRE(pthread_sigmask(SIG_BLOCK, NULL, &now.blocked) == 0);
    return now;
}

static void assert_unchanged(const struct dispositions *before)
{
    const struct dispositions now = dispositions_now();

    for (int i = 1; i <= SIGNALS; i++) {
        ck_assert_msg(now.handler[i] == before->handler[i], "the handler of signal %d", i);
        ck_assert_msg(sigismember(&now.blocked, i) == sigismember(&before->blocked, i),
                      "the mask of signal %d", i);
    }
}

START_TEST(its_handlers_and_masks_stay_as_they_are)
{
    struct sigaction action = {.sa_handler = count_signal};
    struct dispositions before;
    sigset_t some, none;
    soon_executor *ex;
    uint64_t n;

    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    sigemptyset(&none);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &some, NULL) == 0);
    before = dispositions_now();
    ex = busy_pool(_i);
    assert_unchanged(&before);
    n = lead_a_full_life(ex);
    assert_unchanged(&before);
    /* Signals to the program reach its own threads, not one of the pool's. */
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    ck_assert_uint_eq(board()->count[0], 1);
    pool_down(ex, n);
    assert_unchanged(&before);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &none, NULL) == 0);
}
END_TEST

/* ---- descriptors and files ---- */

/* How many descriptors a program has that this process executes. */
static unsigned descriptors_after_exec(void)
{
    unsigned count = 0;
    char line[64];
    FILE *list;
    int fds[2];
    pid_t child;

    REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        REQUIRE(dup2(fds[1], STDOUT_FILENO) == STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl("/bin/ls", "ls", "/proc/self/fd", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    list = fdopen(fds[0], "r");
    REQUIRE(list);
    while (fgets(line, sizeof line, list))
        count++;
    fclose(list);
    REQUIRE(waitpid(child, NULL, 0) == child);
    REQUIRE(count > 0);
    return count;
}

START_TEST(no_descriptor_of_the_pool_survives_an_exec)
{
    const unsigned before = descriptors_after_exec();
    soon_executor *ex = busy_pool(_i);
    char *large = calloc(1, 3 << 20);
    soon_future *f[2];
    uint64_t n;

    REQUIRE(large);
    f[0] = submit(ex, task_echo, large, 3 << 20);
    f[1] = submit(ex, task_echo, large, 1 << 20);
    assert_result_bytes(f[0], large, 3 << 20);
    assert_result_bytes(f[1], large, 1 << 20);
    ck_assert_uint_eq(descriptors_after_exec(), before);
    n = lead_a_full_life(ex);
    ck_assert_uint_eq(descriptors_after_exec(), before);
    unref_all(f, 2);
    pool_down(ex, n + 2);
    free(large);
}
END_TEST

struct exec_watch {
    _Atomic bool over;
    _Atomic unsigned rounds, most;
};

static void watch_execs(void *data)
{
    struct exec_watch *watch = data;

    while (!atomic_load(&watch->over)) {
        unsigned now = descriptors_after_exec();

        if (now > atomic_load(&watch->most))
            atomic_store(&watch->most, now);
        atomic_fetch_add(&watch->rounds, 1);
    }
}

/* The moment between a descriptor and its flag is too long: they have to be
 * made in one step. */
START_TEST(nor_one_that_happens_at_any_moment)
{
    const unsigned before = descriptors_after_exec();
    struct exec_watch watch = {.over = false};
    struct thread thread;

    thread_start(&thread, watch_execs, &watch);
    for (size_t round = scaled(30); round > 0; round--) {
        soon_executor *ex = busy_pool(_i);

        pool_down(ex, lead_a_full_life(ex));
    }
    while (atomic_load(&watch.rounds) < 3)
        sched_yield();
    atomic_store(&watch.over, true);
    thread_join(&thread);
    /* The thread's own bell is open over an exec too. */
    ck_assert_uint_le(atomic_load(&watch.most), before + 1);
}
END_TEST

/* In a worker: how many descriptors a program has that a task executes. */
static int task_exec(soon_call *call, const void *arg, size_t arg_len)
{
    const unsigned count = descriptors_after_exec();

    (void)arg;
    (void)arg_len;
    return soon_return(call, &count, sizeof count);
}

START_TEST(what_a_task_executes_has_no_descriptor_of_the_pool)
{
    const unsigned before = descriptors_after_exec();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    soon_future *f = submit(ex, task_exec, NULL, 0);

    assert_result_int(f, (int)before);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* True if an open descriptor of the process leads below directory. */
static bool has_file_below(pid_t pid, const char *directory)
{
    char path[300], target[512];
    struct dirent *entry;
    bool found = false;
    DIR *fds;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    fds = opendir(path);
    REQUIRE(fds);
    while ((entry = readdir(fds)) != NULL) {
        ssize_t len;

        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);
        len = readlink(path, target, sizeof target - 1);
        target[len < 0 ? 0 : len] = '\0';
        found |= strncmp(target, directory, strlen(directory)) == 0;
    }
    closedir(fds);
    return found;
}

static unsigned entries_of(const char *directory)
{
    DIR *dir = opendir(directory);
    unsigned count = 0;

    if (!dir)
        return 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

START_TEST(nothing_has_a_name_in_a_directory)
{
    const unsigned before = entries_of("/dev/shm");
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    struct process all[16];
    pid_t worker;
    size_t n;

    worker = perch(ex, &hold, NULL);
    n = processes_of_test("", all, 16);
    ck_assert_uint_ge(n, 2);
    for (size_t i = 0; i < n && i < 16; i++)
        ck_assert(!has_file_below(all[i].pid, "/dev/shm/"));
    ck_assert(!has_file_below(worker, "/dev/shm/"));
    ck_assert_uint_eq(entries_of("/dev/shm"), before);
    gate_open(hold.release);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_host");
    TCase *signals = test_case(suite, "children and signals");
    TCase *files = test_case(suite, "descriptors and files");

    add_over_methods(signals, it_has_no_children_and_gets_no_sigchld);
    add_over_methods(signals, its_own_children_are_its_own);
    add_over_methods(signals, its_handlers_and_masks_stay_as_they_are);

    add_over_methods(files, no_descriptor_of_the_pool_survives_an_exec);
    add_over_methods(files, nor_one_that_happens_at_any_moment);
    add_over_methods(files, what_a_task_executes_has_no_descriptor_of_the_pool);
    add_over_methods(files, nothing_has_a_name_in_a_directory);
    return suite;
}
