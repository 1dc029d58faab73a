/* SPDX-License-Identifier: MIT */
/*
 * http_server: what crawl fetches from in its test, on the loopback only.
 *
 * Prints two ports: one that it serves, and one that it keeps bound without
 * listening, so that nobody else takes it and connecting is refused. Serves
 *
 *     /bytes/N   N bytes
 *     /slow      nothing, until the client hangs up
 *
 * and 404 for the rest, one request a connection. Runs until it is killed.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

/* Binds to a free port, which it returns. */
static int bind_loopback(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        give_up("socket");
    if (bind(fd, (struct sockaddr *)&address, len) != 0)
        give_up("bind");
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        give_up("getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

/* Reads the head of a request, up to its empty line. False: the client hung up. */
static int read_head(int fd, char *head, size_t size)
{
    size_t len = 0;
    while (len < size - 1) {
        ssize_t n = read(fd, head + len, size - 1 - len);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL)
            return 1;
    }
    return 0;
}

static void answer(FILE *client, const char *head)
{
    unsigned long bytes;
    if (sscanf(head, "GET /bytes/%lu ", &bytes) != 1) {
        fputs("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", client);
        return;
    }
    fprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\nConnection: close\r\n\r\n", bytes);
    while (bytes-- > 0)
        putc('x', client);
}

static void *serve(void *arg)
{
    char head[4096];
    int fd = (int)(intptr_t)arg;
    if (!read_head(fd, head, sizeof head)) {
        close(fd);
        return NULL;
    }
    if (strncmp(head, "GET /slow ", 10) == 0)
        while (read(fd, head, sizeof head) > 0)
            ;
    FILE *client = fdopen(fd, "w");
    if (client == NULL)
        give_up("fdopen");
    if (strncmp(head, "GET /slow ", 10) != 0)
        answer(client, head);
    fclose(client);
    return NULL;
}

int main(void)
{
    int port, refused;
    int listener = bind_loopback(&port);
    bind_loopback(&refused);
    signal(SIGPIPE, SIG_IGN);
    if (listen(listener, 128) != 0)
        give_up("listen");
    printf("%d %d\n", port, refused);
    fflush(stdout);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            give_up("accept");
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
            give_up("pthread_create");
        pthread_detach(thread);
    }
}
