/* SPDX-License-Identifier: MIT */
/*
 * A program that gets soon_init() wrong, in the way that its argument says:
 *
 *     never      it does not call it
 *     late       it makes its pool first
 *     options    it reads its own options first, and refuses what it does not
 *                know, such as what a spawned worker is called with
 *     elsewhere  it calls it, but a spawned process ends up in a branch of
 *                main() that makes a pool and does not
 *
 * Prints what became of a pool and of its one task: CODE, a space, a sentence.
 */
#include <soon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int task(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    return soon_return(call, "done", 4);
}

static int say(int code, const char *sentence)
{
    printf("%d %s\n", code, sentence);
    return 0;
}

static int use_a_pool(void)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .start_method = SOON_START_SPAWN,
                                               .max_restarts = 5,
                                               .restart_window = SOON_SECONDS(60)};
    soon_executor *ex = NULL;
    soon_future *f = NULL;
    soon_error error;
    int code = soon_process_pool_new(&options, &ex);

    if (code)
        return say(code, soon_last_error());
    code = soon_submit(ex, task, NULL, 0, &f);
    if (code)
        return say(code, soon_last_error());
    if (soon_future_error(f, SOON_FOREVER, &error) != 0)
        return 1;
    say(error.code, error.message);
    soon_future_unref(f);
    if (soon_shutdown(ex, SOON_FOREVER, 0) != 0)
        return 1;
    soon_executor_unref(ex);
    return 0;
}

int main(int argc, char **argv)
{
    const char *way = argc == 2 ? argv[1] : "";

    if (strcmp(way, "never") == 0)
        return use_a_pool();
    if (strcmp(way, "late") == 0)
        return use_a_pool() || soon_init(argc, argv);
    if (strcmp(way, "options") == 0)
        return soon_init(argc, argv) || use_a_pool();
    if (strcmp(way, "elsewhere") == 0)
        return soon_init(argc, argv) || use_a_pool();
    if (getenv("FORGETFUL_ELSEWHERE"))
        return use_a_pool();
    fprintf(stderr, "usage: forgetful never|late|options|elsewhere\n");
    return 64;
}
