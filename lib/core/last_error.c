/* SPDX-License-Identifier: MIT */
#include "core/last_error.h"

#include "core/error.h"
#include "core/executor.h"
#include "core/mem.h"
#include "core/thread.h"

#include <errno.h>
#include <pthread.h>
#include <soon/backend.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* Sync: const after once */
static bool has_key;      /* Sync: const after once */

/* The thread ends. What another key's destructor says after this is kept and
 * freed like any other: the key is set again. */
static void forget(void *sentence)
{
    soon__self.last_error = NULL;
    soon__free_string(sentence);
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, forget) == 0;
}

void soon_set_last_error(const char *sentence)
{
    /* It may be the one before. */
    char *before = soon__self.last_error, *copy = sentence ? soon__copy_string(sentence) : NULL;

    pthread_once(&once, make_key);
    if (!has_key || pthread_setspecific(key, copy) != 0) {
        /* Nobody would free it: rather say nothing. */
        soon__free_string(copy);
        copy = NULL;
    }
    soon__self.last_error = copy;
    soon__free_string(before);
}

const char *soon_last_error(void)
{
    return soon__self.last_error ? soon__self.last_error : "";
}

int soon__explain(const soon_executor *ex, int error)
{
    if (error != -ENOTRECOVERABLE)
        return error;
    if (soon_executor_inherited(ex)) {
        soon_set_last_error("the executor was made before a fork and stayed in the parent");
        return error;
    }
    /* Else the backend said so, and why. */
    if (atomic_load(&ex->core->closed) == SOON__BROKEN) {
        const char *why = atomic_load(&ex->core->why);
        soon_set_last_error(why ? why : soon__text(error));
    }
    return error;
}
