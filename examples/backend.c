/* SPDX-License-Identifier: MIT */
/*
 * backend: an executor of one's own, made with <soon/backend.h>.
 *
 *     backend
 *
 * It runs the newest task first, as a viewer would that makes thumbnails of
 * what its user looks at now. Futures, waits, cancelling, maps and shutdown
 * work with it as with the executors of the library. The executor itself is
 * in backend_lifo.c; this program shows it at work.
 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static soon_executor *viewer;

static void check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "backend: %s: %s\n", what, strerror(-err));
    exit(1);
}

struct gate {
    soon_future *reached, *opened; /* promises */
};

/* Keeps the thread busy until the gate is opened, so that tasks pile up behind it. */
static int stand_at(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    const struct gate *gate = arg;
    int err = soon_future_set_result(gate->reached, NULL, 0);
    return err != 0 ? err : soon_future_wait(gate->opened, SOON_FOREVER);
}

static int draw(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    printf("thumbnail %.*s\n", (int)arg_len, (const char *)arg);
    return 0;
}

/* Waits for a task that is behind it in the one thread there is: the wait runs it. */
static int draw_album(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *cover;
    int err = soon_submit(viewer, draw, "cover", strlen("cover"), &cover);
    if (err != 0)
        return err;
    err = soon_future_wait(cover, SOON_FOREVER);
    soon_future_unref(cover);
    return err != 0 ? err : draw(call, arg, arg_len);
}

static soon_future *submit(soon_fn *fn, const void *arg, size_t arg_len)
{
    soon_future *f = NULL;
    check(soon_submit(viewer, fn, arg, arg_len, &f), "soon_submit");
    return f;
}

int main(void)
{
    struct gate gate;
    soon_future *f[6];
    soon_stats stats;
    check(lifo_new(&viewer), "lifo_new");
    check(soon_future_new(&gate.reached), "soon_future_new");
    check(soon_future_new(&gate.opened), "soon_future_new");
    f[0] = submit(stand_at, &gate, sizeof gate);
    check(soon_future_wait(gate.reached, SOON_FOREVER), "soon_future_wait");

    for (size_t i = 1; i <= 4; i++)
        f[i] = submit(draw, &"1234"[i - 1], 1);
    f[5] = submit(draw_album, "album", strlen("album"));
    printf("2 is cancelled: %s\n", soon_future_cancel(f[2]) ? "yes" : "no");
    check(soon_future_set_result(gate.opened, NULL, 0), "soon_future_set_result");
    int done = soon_wait(f, 6, SOON_ALL_COMPLETED, SOON_FOREVER);
    check(done < 0 ? done : 0, "soon_wait");
    check(soon_shutdown(viewer, SOON_FOREVER, 0), "soon_shutdown");

    int err = soon_submit(viewer, draw, "late", strlen("late"), NULL);
    printf("after shutdown: %s\n", strerror(-err));
    check(soon_executor_stats(viewer, &stats), "soon_executor_stats");
    printf("%s: %d finished, %d cancelled, %d in place\n", soon_executor_backend(viewer),
           (int)stats.finished, (int)stats.cancelled, (int)stats.helped);
    for (size_t i = 0; i < 6; i++)
        soon_future_unref(f[i]);
    soon_future_unref(gate.reached);
    soon_future_unref(gate.opened);
    soon_executor_unref(viewer);
    return 0;
}
