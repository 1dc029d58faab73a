/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs a process may use: every quota that cgroup v1 or v2 sets on
 * its group or an ancestor, read from a tree of the test's own, and
 * SOON_MAX_WORKERS, which overrides it.
 */
#include "support.h"

#include "os/cpus.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a file system of our own ---- */

static char root[] = "/tmp/soon-cpus-XXXXXX";
static char cgroup_file[64], mountinfo_file[64];

/* Makes the directories on the way to root/path. */
static void make_way(const char *path)
{
    char dir[512];

    snprintf(dir, sizeof dir, "%s/%s", root, path);
    for (char *slash = dir + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        ck_assert(mkdir(dir, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *file;

    make_way(path);
    snprintf(full, sizeof full, "%s/%s", root, path);
    file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert(fputs(text, file) >= 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void tree_up(void)
{
    strcpy(root + strlen(root) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(cgroup_file, sizeof cgroup_file, "%s/cgroup", root);
    snprintf(mountinfo_file, sizeof mountinfo_file, "%s/mountinfo", root);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void tree_down(void)
{
    ck_assert_int_eq(nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* /proc/self/cgroup. */
static void in_group(const char *lines)
{
    put("cgroup", lines);
}

/* /proc/self/mountinfo: one line like the kernel's. */
static void mounted(const char *mount_root, const char *below, const char *type,
                    const char *options)
{
    char line[512];

    snprintf(line, sizeof line,
             "21 26 0:19 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
             "30 21 0:26 %s %s/%s rw,nosuid,nodev shared:9 master:1 - %s cgroup %s\n",
             mount_root, root, below, type, options);
    put("mountinfo", line);
}

static void mounted_v2(void)
{
    mounted("/", "fs", "cgroup2", "rw,nsdelegate");
}

static void mounted_v1(void)
{
    mounted("/", "fs", "cgroup", "rw,cpu,cpuacct");
}

static unsigned cpus(unsigned affinity)
{
    const struct soon__cpus_paths paths = {.cgroup = cgroup_file, .mountinfo = mountinfo_file};

    return soon__cpus_from(&paths, affinity);
}

/* ---- cgroup v2 ---- */

START_TEST(v2_quota_of_the_own_group_limits)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "300000 100000\n");
    ck_assert_uint_eq(cpus(16), 3);
}
END_TEST

START_TEST(a_quota_is_rounded_up)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "200001 100000\n");
    ck_assert_uint_eq(cpus(16), 3);
    put("fs/app/cpu.max", "1000 100000\n");
    ck_assert_uint_eq(cpus(16), 1);
}
END_TEST

START_TEST(the_smallest_over_all_ancestors_wins)
{
    static const char *const groups[] = {"fs/a/b/c", "fs/a/b", "fs/a", "fs"};

    in_group("0::/a/b/c\n");
    mounted_v2();
    for (size_t least = 0; least < 4; least++) {
        for (size_t i = 0; i < 4; i++) {
            char path[64];

            snprintf(path, sizeof path, "%s/cpu.max", groups[i]);
            put(path, i == least ? "200000 100000\n" : "700000 100000\n");
        }
        ck_assert_uint_eq(cpus(16), 2);
    }
}
END_TEST

START_TEST(an_ancestor_counts_though_the_group_says_max)
{
    in_group("0::/a/b\n");
    mounted_v2();
    put("fs/a/b/cpu.max", "max 100000\n");
    put("fs/a/cpu.max", "400000 100000\n");
    ck_assert_uint_eq(cpus(16), 4);
}
END_TEST

START_TEST(no_other_group_counts)
{
    in_group("0::/a/b\n");
    mounted_v2();
    put("fs/a/b/c/cpu.max", "100000 100000\n");
    put("fs/a/bb/cpu.max", "100000 100000\n");
    put("fs/other/cpu.max", "100000 100000\n");
    put("cpu.max", "100000 100000\n"); /* above the mount */
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

START_TEST(max_is_no_limit)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "max 100000\n");
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

START_TEST(affinity_below_the_quota_wins)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "800000 100000\n");
    ck_assert_uint_eq(cpus(2), 2);
    ck_assert_uint_eq(cpus(8), 8);
    ck_assert_uint_eq(cpus(9), 8);
}
END_TEST

START_TEST(the_period_counts)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "50000 10000\n");
    ck_assert_uint_eq(cpus(16), 5);
}
END_TEST

START_TEST(the_root_group_has_its_quota_in_a_container)
{
    in_group("0::/\n");
    mounted_v2();
    put("fs/cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cpus(16), 2);
}
END_TEST

/* Without a cgroup namespace a container's mount shows the group, not "/". */
START_TEST(the_group_is_seen_from_the_root_of_the_mount)
{
    in_group("0::/docker/1234/app\n");
    mounted("/docker/1234", "fs", "cgroup2", "rw");
    put("fs/app/cpu.max", "500000 100000\n");
    put("fs/cpu.max", "600000 100000\n");
    ck_assert_uint_eq(cpus(16), 5);
    put("fs/cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cpus(16), 2);
}
END_TEST

START_TEST(a_group_outside_of_the_mount_leaves_the_mount)
{
    in_group("0::/docker/12345\n");
    mounted("/docker/1234", "fs", "cgroup2", "rw");
    put("fs/cpu.max", "300000 100000\n");
    put("fs/5/cpu.max", "100000 100000\n");
    ck_assert_uint_eq(cpus(16), 3);
}
END_TEST

START_TEST(a_blank_in_a_path_is_understood)
{
    in_group("0::/my app\n");
    mounted("/", "the\\040fs", "cgroup2", "rw");
    put("the fs/my app/cpu.max", "300000 100000\n");
    ck_assert_uint_eq(cpus(16), 3);
}
END_TEST

/* ---- cgroup v1 ---- */

static void put_v1(const char *group, const char *quota, const char *period)
{
    char path[256];

    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", group);
    put(path, quota);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", group);
    put(path, period);
}

START_TEST(v1_quota_over_ancestors_limits)
{
    in_group("5:memory:/other\n4:cpu,cpuacct:/a/b\n1:name=systemd:/a/b\n");
    mounted_v1();
    put_v1("fs/a/b", "-1\n", "100000\n");
    ck_assert_uint_eq(cpus(16), 16);
    put_v1("fs/a/b", "600000\n", "100000\n");
    ck_assert_uint_eq(cpus(16), 6);
    put_v1("fs/a", "150000\n", "50000\n");
    ck_assert_uint_eq(cpus(16), 3);
    put_v1("fs", "110000\n", "100000\n");
    ck_assert_uint_eq(cpus(16), 2);
}
END_TEST

START_TEST(v1_cpuset_and_cpuacct_are_not_cpu)
{
    in_group("3:cpuset:/a\n2:cpuacct:/a\n");
    mounted("/", "fs", "cgroup", "rw,cpuset,cpuacct");
    put_v1("fs/a", "100000\n", "100000\n");
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

START_TEST(v1_cpu_counts_beside_a_v2_without_it)
{
    char lines[512];

    in_group("4:cpu,cpuacct:/a\n0::/user.slice\n");
    snprintf(lines, sizeof lines,
             "40 21 0:30 / %s/unified rw - cgroup2 cgroup2 rw\n"
             "41 21 0:31 / %s/cpuset rw - cgroup cgroup rw,cpuset\n"
             "42 21 0:32 / %s/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
             root, root, root);
    put("mountinfo", lines);
    put_v1("cpu/a", "300000\n", "100000\n");
    put_v1("cpuset/a", "100000\n", "100000\n");
    ck_assert_uint_eq(cpus(16), 3);
    put("unified/user.slice/cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cpus(16), 2);
}
END_TEST

START_TEST(v1_without_a_period_is_no_limit)
{
    in_group("4:cpu:/a\n");
    mounted("/", "fs", "cgroup", "rw,cpu");
    put("fs/a/cpu.cfs_quota_us", "100000\n");
    ck_assert_uint_eq(cpus(16), 16);
    put("fs/a/cpu.cfs_period_us", "0\n");
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

/* ---- nothing there, or garbage ---- */

START_TEST(without_files_only_affinity_counts)
{
    ck_assert_uint_eq(cpus(7), 7);
    in_group("0::/app\n");
    ck_assert_uint_eq(cpus(7), 7);
    mounted_v2();
    ck_assert_uint_eq(cpus(7), 7);
}
END_TEST

START_TEST(there_is_always_one)
{
    ck_assert_uint_eq(cpus(0), 1);
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "1 1000000\n");
    ck_assert_uint_eq(cpus(16), 1);
    ck_assert_uint_eq(cpus(0), 1);
}
END_TEST

static const char *const senseless_quotas[] = {
    "",         "\n",          "banana",     "100000",         "100000 x",
    "0 100000", "-5 10000",    "100000 0\n", "100000 -100000", "max",
    "max max",  "0x10 100000", "\xff\xfe",   "/ 100000\n",     " \n \n",
};

START_TEST(a_senseless_quota_is_no_limit)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", senseless_quotas[_i]);
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

START_TEST(a_huge_quota_does_not_overflow)
{
    in_group("0::/app\n");
    mounted_v2();
    put("fs/app/cpu.max", "9223372036854775807 1\n");
    ck_assert_uint_eq(cpus(16), 16);
    put("fs/app/cpu.max", "4294967297 1\n"); /* 1, if it were cut to 32 bits */
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

static const char *const senseless_groups[] = {
    "", "\n\n\n", ":", "::", ":::", "0", "0:", "0::", "x::/app", "1::/app\n", "0:name\n", "\xff:\n",
};

START_TEST(a_senseless_group_file_is_no_limit)
{
    in_group(senseless_groups[_i]);
    mounted_v2();
    put("fs/app/cpu.max", "100000 100000\n");
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

static const char *const senseless_mounts[] = {
    "",
    "\n",
    "30",
    "30 21 0:26 / /nowhere rw\n",
    "30 21 0:26 / /nowhere rw - \n",
    "30 21 0:26 / /nowhere rw - cgroup2\n",
    "- - - - - - - - - -\n",
    "30 21 0:26 / /nowhere rw shared:1 shared:2 shared:3 -",
    "30 21 0:26 \\999 \\ rw - cgroup2 cgroup2 rw\n",
};

START_TEST(a_senseless_mount_file_is_no_limit)
{
    in_group("0::/app\n");
    put("mountinfo", senseless_mounts[_i]);
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

START_TEST(a_path_longer_than_any_is_no_limit)
{
    static char line[3 * 4096];

    memset(line, 'a', sizeof line - 1);
    memcpy(line, "0::/", 4);
    in_group(line);
    mounted_v2();
    put("fs/cpu.max", "100000 100000\n");
    /* The group can't be told, so neither can what limits it. */
    ck_assert_uint_eq(cpus(16), 16);
}
END_TEST

/* ---- this process, and the pools it makes ---- */

START_TEST(this_process_has_as_many_as_its_affinity_at_most)
{
    cpu_set_t all, one;

    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    ck_assert_uint_ge(soon__cpus(), 1);
    ck_assert_uint_le(soon__cpus(), (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(soon__cpus(), 1);
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
}
END_TEST

/* A pool of these options runs exactly this many tasks at once. */
static void assert_pool_size(const soon_thread_pool_options *options, unsigned expected)
{
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(options, &ex));
    for (unsigned i = 0; i < expected + 1; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, expected);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.workers, expected);
    ck_assert_uint_eq(stats.running, expected);
    ck_assert_uint_eq(stats.pending, 1);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    hold_free(&hold);
}

static void env_forget(void)
{
    ck_assert_int_eq(unsetenv("SOON_MAX_WORKERS"), 0);
}

START_TEST(a_pool_is_as_large_as_the_cpus_by_default)
{
    assert_pool_size(NULL, soon__cpus());
}
END_TEST

START_TEST(the_environment_overrides_the_default)
{
    unsigned other = soon__cpus() + 2;
    char number[16];

    snprintf(number, sizeof number, "%u", other);
    ck_assert_int_eq(setenv("SOON_MAX_WORKERS", number, 1), 0);
    assert_pool_size(NULL, other);
    assert_pool_size(&(soon_thread_pool_options){.max_pending = 10}, other);
}
END_TEST

START_TEST(an_explicit_size_overrides_the_environment)
{
    ck_assert_int_eq(setenv("SOON_MAX_WORKERS", "4", 1), 0);
    assert_pool_size(&(soon_thread_pool_options){.max_workers = 2}, 2);
}
END_TEST

static const char *const bad_numbers[] = {
    "0", "-1",  "many", "3x", "3.5", "65537", "4294967297", "99999999999999999999999",
    "",  "0x4", "1 2",
};

START_TEST(a_bad_number_in_the_environment_is_refused)
{
    soon_executor *const untouched = (soon_executor *)&root, *ex = untouched;

    ck_assert_int_eq(setenv("SOON_MAX_WORKERS", bad_numbers[_i], 1), 0);
    ck_assert_int_eq(soon_thread_pool_new(NULL, &ex), -EINVAL);
    ck_assert_int_eq(soon_thread_pool_new(&(soon_thread_pool_options){.min_workers = 1}, &ex),
                     -EINVAL);
    ck_assert_ptr_eq(ex, untouched);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static void add_environment(Suite *suite)
{
    TCase *tc = test_case(suite, "environment");

    tcase_add_checked_fixture(tc, env_forget, env_forget);
    tcase_add_test(tc, this_process_has_as_many_as_its_affinity_at_most);
    tcase_add_test(tc, a_pool_is_as_large_as_the_cpus_by_default);
    tcase_add_test(tc, the_environment_overrides_the_default);
    tcase_add_test(tc, an_explicit_size_overrides_the_environment);
    tcase_add_loop_test(tc, a_bad_number_in_the_environment_is_refused, 0, COUNT(bad_numbers));
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("cpus");
    TCase *tc = test_case(suite, "cgroup");

    tcase_add_checked_fixture(tc, tree_up, tree_down);
    tcase_add_test(tc, v2_quota_of_the_own_group_limits);
    tcase_add_test(tc, a_quota_is_rounded_up);
    tcase_add_test(tc, the_smallest_over_all_ancestors_wins);
    tcase_add_test(tc, an_ancestor_counts_though_the_group_says_max);
    tcase_add_test(tc, no_other_group_counts);
    tcase_add_test(tc, max_is_no_limit);
    tcase_add_test(tc, affinity_below_the_quota_wins);
    tcase_add_test(tc, the_period_counts);
    tcase_add_test(tc, the_root_group_has_its_quota_in_a_container);
    tcase_add_test(tc, the_group_is_seen_from_the_root_of_the_mount);
    tcase_add_test(tc, a_group_outside_of_the_mount_leaves_the_mount);
    tcase_add_test(tc, a_blank_in_a_path_is_understood);
    tcase_add_test(tc, v1_quota_over_ancestors_limits);
    tcase_add_test(tc, v1_cpuset_and_cpuacct_are_not_cpu);
    tcase_add_test(tc, v1_cpu_counts_beside_a_v2_without_it);
    tcase_add_test(tc, v1_without_a_period_is_no_limit);
    tcase_add_test(tc, without_files_only_affinity_counts);
    tcase_add_test(tc, there_is_always_one);
    tcase_add_loop_test(tc, a_senseless_quota_is_no_limit, 0, COUNT(senseless_quotas));
    tcase_add_test(tc, a_huge_quota_does_not_overflow);
    tcase_add_loop_test(tc, a_senseless_group_file_is_no_limit, 0, COUNT(senseless_groups));
    tcase_add_loop_test(tc, a_senseless_mount_file_is_no_limit, 0, COUNT(senseless_mounts));
    tcase_add_test(tc, a_path_longer_than_any_is_no_limit);
    add_environment(suite);
    return suite;
}
