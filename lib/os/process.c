/* SPDX-License-Identifier: MIT */
#include "os/process.h"

#include "os/inject.h"
#include "os/own_fd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __has_include && defined __has_builtin
#if __has_include(<sys/rseq.h>) && __has_builtin(__builtin_thread_pointer)
#include <sys/rseq.h>
#define SOON_HAVE_RSEQ 1
#endif
#endif

enum { TITLE_SIZE = 16 }; /* TASK_COMM_LEN */

/* In a child of a twin. The kernel has registered no restartable sequences
 * (rseq(2), by which sched_getcpu() knows its CPU) for the twin, and so none for
 * the child, whose libc believes that they are. */
static void renew_rseq(void)
{
#if defined SOON_HAVE_RSEQ
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    enum { SIZE = 32 }; /* as libc registers it */

    if (__rseq_size && syscall(SYS_rseq, area, SIZE, 0, RSEQ_SIG) != 0 && errno != EBUSY)
        area->cpu_id = (uint32_t)RSEQ_CPU_ID_REGISTRATION_FAILED;
#endif
}

pid_t soon__process_fork(void)
{
    if (soon__inject(SOON__INJECT_FORK))
        return -EAGAIN;
    soon__own_fds_stay(true);
    pid_t pid = fork();
    int error = errno;
    soon__own_fds_stay(false);
    if (pid == 0)
        renew_rseq();
    return pid < 0 ? -error : pid;
}

bool soon__process_is_privileged(void)
{
    return getauxval(AT_SECURE);
}

const volatile bool *soon__process_mark(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    bool *mark = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mark == MAP_FAILED)
        return NULL;
    if (madvise(mark, size, MADV_WIPEONFORK) != 0) {
        munmap(mark, size);
        return NULL;
    }
    *mark = true;
    return mark;
}

bool soon__process_dies_with(pid_t parent)
{
    /* The signal comes only for a parent that ends from here on. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

bool soon__process_hears_of(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGCONT) == 0 && getppid() == parent;
}

void soon__process_own_group(pid_t child)
{
    setpgid(child, child);
}

/* ---- signals ---- */

void soon__signals_block(sigset_t *before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void soon__signals_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void act(int signal, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigaction(signal, &action, NULL);
}

static void plain_signals(void)
{
    struct sigaction action;

    for (int signal = 1; signal < _NSIG; signal++)
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_IGN &&
            action.sa_handler != SIG_DFL)
            act(signal, SIG_DFL);
    act(SIGCHLD, SIG_DFL);
    act(SIGINT, SIG_IGN);
}

bool soon__process_settle(pid_t parent)
{
    sigset_t none;

    if (!soon__process_dies_with(parent))
        return false;
    setpgid(0, 0);
    plain_signals();
    sigemptyset(&none);
    soon__signals_restore(&none);
    return true;
}

/* ---- a process seen from elsewhere ---- */

int soon__process_open(pid_t pid)
{
    if (soon__inject(SOON__INJECT_PIDFD))
        return -EMFILE;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int soon__process_signal(int pidfd, int signal)
{
    int saved = errno, error = 0;

    if (soon__inject(SOON__INJECT_SIGNAL))
        return -EPERM;
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0)
        error = -errno;
    errno = saved;
    return error;
}

/* ---- children ---- */

static sigset_t bell_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGCONT);
    return set;
}

int soon__process_bell(void)
{
    sigset_t set = bell_signals();

    if (soon__inject(SOON__INJECT_SIGNALFD))
        return -EMFILE;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* The program may ignore SIGCHLD, and then children vanish before anybody has
 * seen how they ended. A blocked signal of default action waits for signalfd.
 *
 * Not by sigaction(), of which the sanitizers keep an account in memory that a
 * twin shares with the program. The kernel's table is the twin's own. An
 * action of zero words is SIG_DFL without flags, however they are laid out. */
void soon__process_hear(void)
{
    static const uintptr_t default_action[16];

    syscall(SYS_rt_sigaction, SIGCHLD, default_action, NULL, _NSIG / 8);
}

bool soon__process_await(int bell, int fd, bool input, int life)
{
    struct pollfd poll_fd[] = {{.fd = bell, .events = POLLIN},
                               {.fd = fd, .events = input ? POLLIN : 0},
                               {.fd = life, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (poll(poll_fd, 3, -1) <= 0)
        ;
    while (read(bell, &info, sizeof info) > 0)
        ;
    return !(poll_fd[1].revents & (POLLHUP | POLLERR | POLLNVAL)) && !poll_fd[2].revents;
}

bool soon__process_await_room(int fd, int life)
{
    enum { TENTH = 100 };
    struct pollfd poll_fd[] = {{.fd = fd, .events = POLLOUT}, {.fd = life, .events = POLLIN}};

    if (poll(poll_fd, 2, TENTH) <= 0)
        return true;
    return !(poll_fd[0].revents & (POLLHUP | POLLERR | POLLNVAL)) && !poll_fd[1].revents;
}

pid_t soon__process_ended(struct soon__exit *how)
{
    siginfo_t info = {.si_pid = 0};

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return -ECHILD;
    if (info.si_pid == 0)
        return 0;
    bool exited = info.si_code == CLD_EXITED;
    how->code = exited ? info.si_status : 0;
    how->signal = exited ? 0 : info.si_status;
    return info.si_pid;
}

void soon__process_continue(pid_t pid)
{
    kill(pid, SIGCONT);
}

/* Who has ended may be beyond anybody's signals as well. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == pid;
}

int soon__process_signal_child(pid_t pid, int signal)
{
    if (soon__inject(SOON__INJECT_KILL))
        return -EPERM;
    int error = kill(pid, signal) < 0 ? -errno : 0; /* it may have left its group */
    if (signal == SIGKILL)
        kill(-pid, SIGKILL);
    return error && has_ended(pid) ? 0 : error;
}

bool soon__process_kill(pid_t pid)
{
    return soon__process_signal_child(pid, SIGKILL) == 0;
}

void soon__process_bury(pid_t pid)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    /* Until it is reaped nobody else gets its number, as a process or a group. */
    kill(-pid, SIGKILL);
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG);
}

struct soon__owner soon__process_owner(void)
{
    struct soon__owner owner = {0};
    uid_t effective;

    getresuid(&owner.real, &effective, &owner.saved);
    return owner;
}

/* ---- names and limits ---- */

void soon__process_title(const char *title)
{
    prctl(PR_SET_NAME, title);
}

void soon__process_name(const char *base, unsigned number)
{
    char title[TITLE_SIZE], suffix[TITLE_SIZE];
    size_t tail = (size_t)snprintf(suffix, sizeof suffix, "-%u", number);
    size_t head = strnlen(base, sizeof title - 1 - tail);

    memcpy(title, base, head);
    memcpy(title + head, suffix, tail + 1);
    soon__process_title(title);
}

static bool read_address_space(uintmax_t *bytes)
{
    uintmax_t pages;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return false;
    int n = fscanf(file, "%" SCNuMAX, &pages);
    fclose(file);
    *bytes = pages * (uintmax_t)sysconf(_SC_PAGESIZE);
    return n == 1;
}

/* Under a limit that is below what there is already not one page can be had. */
static bool has_room(struct rlimit limit, uintmax_t most)
{
    limit.rlim_cur = (rlim_t)most;
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        return false;
    void *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        munmap(page, 1);
    return page != MAP_FAILED;
}

/* Where there is no /proc: to the page, by halving. */
static uintmax_t feel_address_space(const struct rlimit *limit)
{
    const uintmax_t page = (uintmax_t)sysconf(_SC_PAGESIZE);
    uintmax_t low = 0, high = UINT64_C(1) << 56;

    if (high > limit->rlim_cur)
        high = limit->rlim_cur;
    while (high - low > page) {
        uintmax_t middle = low + (high - low) / 2;
        if (has_room(*limit, middle))
            high = middle;
        else
            low = middle;
    }
    setrlimit(RLIMIT_AS, limit);
    return high;
}

int soon__process_limit_memory(size_t more)
{
    struct rlimit limit;
    uintmax_t now = 0;

    if (getrlimit(RLIMIT_AS, &limit) < 0)
        return -errno;
    if (!read_address_space(&now))
        now = feel_address_space(&limit);
    rlim_t most = more < RLIM_INFINITY - now ? (rlim_t)(now + more) : RLIM_INFINITY;
    if (most < limit.rlim_max) /* as well, so that a task can't undo it */
        limit.rlim_max = most;
    if (most < limit.rlim_cur)
        limit.rlim_cur = most;
    return setrlimit(RLIMIT_AS, &limit) < 0 ? -errno : 0;
}
