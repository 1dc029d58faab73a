/* SPDX-License-Identifier: MIT */
/*
 * crawl: fetches a list of URLs, many at once, and says how each one went.
 *
 *     crawl [-j WORKERS] [-t SECONDS] URL...
 *
 * Shows as_completed: results are taken in the order in which they are there,
 * so that a slow server holds up nobody. The workers spend their time waiting
 * for the network; there may be many more of them than CPUs. An URL that
 * fails is an error of its own future, with a message, and costs no other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <soon.h>

struct request {
    const char *url;
    long timeout_ms;
};

struct page {
    const char *url;
    long status;
    curl_off_t bytes;
};

/* A crawler would look for links here. */
static size_t swallow(char *data, size_t size, size_t count, void *page)
{
    (void)data;
    ((struct page *)page)->bytes += (curl_off_t)(size * count);
    return size * count;
}

/* Gives up the transfer when somebody has cancelled the task. */
static int watch(void *call, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return soon_call_cancelled(call);
}

/* The task: arg is a request, the result a page. */
static int fetch(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    const struct request *request = arg;
    struct page page = {.url = request->url};
    char why[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return soon_fail(call, -ENOMEM, "%s: no memory for a transfer", request->url);
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); /* no SIGALRM: there are threads */
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &page);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, call);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &page.status);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return soon_fail(call, (int)code, "%s: %s", request->url,
                         why[0] != '\0' ? why : curl_easy_strerror(code));
    return soon_return(call, &page, sizeof page);
}

/* One line for a future that is done. True if it has a page. */
static bool print_page(soon_future *f)
{
    struct page page;
    soon_error error;
    if (soon_future_result(f, 0, &page, sizeof page) == 0) {
        printf("%ld %8lld bytes  %s\n", page.status, (long long)page.bytes, page.url);
        return true;
    }
    soon_future_error(f, 0, &error);
    printf("failed  %s\n", error.message);
    return false;
}

/* The number of URLs that failed, or a negative errno. */
static int crawl(soon_executor *pool, char **urls, long timeout_ms)
{
    soon_as_completed *pages;
    soon_future *f;
    int failed = 0, more = 0, err = soon_as_completed_new(NULL, 0, &pages);
    if (err != 0)
        return err;
    for (; *urls != NULL && err == 0; urls++) {
        struct request request = {*urls, timeout_ms};
        err = soon_submit(pool, fetch, &request, sizeof request, &f);
        if (err == 0) {
            err = soon_as_completed_add(pages, f);
            soon_future_unref(f);
        }
    }
    while (err == 0 && (more = soon_as_completed_next(pages, SOON_FOREVER, &f)) > 0) {
        failed += !print_page(f);
        soon_future_unref(f);
    }
    soon_as_completed_free(pages);
    return err != 0 ? err : more < 0 ? more : failed;
}

int main(int argc, char **argv)
{
    soon_thread_pool_options options = {.max_workers = 16, .name = "crawl"};
    long timeout_ms = 10000;
    for (int opt; (opt = getopt(argc, argv, "j:t:")) != -1;) {
        if (opt == 'j')
            options.max_workers = (unsigned)strtoul(optarg, NULL, 10);
        else
            timeout_ms = opt == 't' ? (long)(strtod(optarg, NULL) * 1000) : 0;
    }
    if (options.max_workers == 0 || timeout_ms <= 0 || optind >= argc) {
        fputs("usage: crawl [-j WORKERS] [-t SECONDS] URL...\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before there are threads */
    soon_executor *pool;
    int result = soon_thread_pool_new(&options, &pool);
    if (result == 0) {
        result = crawl(pool, argv + optind, timeout_ms);
        soon_shutdown(pool, SOON_FOREVER, SOON_CANCEL_FUTURES);
        soon_executor_unref(pool);
    }
    curl_global_cleanup();
    if (result < 0)
        fprintf(stderr, "crawl: %s\n", strerror(-result));
    else
        printf("%d fetched, %d failed\n", argc - optind - result, result);
    return result != 0;
}
