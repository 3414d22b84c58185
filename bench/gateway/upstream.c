/* A fake provider that costs almost nothing: the same answer to every POST, whole or as a stream of chunks.

   upstream PORT ANSWER STREAM     ANSWER and STREAM are files; a stream's events are separated by blank lines.
   GET /pace/N: streams from now on wait N microseconds between chunks (0: all chunks in one write).
   One thread, ppoll, loopback only. Prints the port it listens on. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 1024
#define CHUNKS 4096

typedef struct { char *at; size_t size, room; } Bytes;
typedef struct { int fd; Bytes in, out; size_t sent; int chunk; /* next to send; -1: no stream */ long long due; } Connection;

static Connection *open_[CONNECTIONS];
static struct pollfd polled[CONNECTIONS + 1];
static int count;
static Bytes whole, burst, head, chunks[CHUNKS];
static int chunk_count;
static long pace_us;

static long long now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }

static void add(Bytes *b, const void *from, size_t size) {
    if (b->size + size > b->room) { b->room = (b->size + size) * 2; b->at = realloc(b->at, b->room); if (!b->at) abort(); }
    memcpy(b->at + b->size, from, size);
    b->size += size;
}
static void say(Bytes *b, const char *text) { add(b, text, strlen(text)); }

static Bytes file(const char *path) {
    Bytes b = {0}; char part[65536]; size_t n; FILE *f = fopen(path, "rb");
    if (!f) { perror(path); exit(1); }
    while ((n = fread(part, 1, sizeof part, f))) add(&b, part, n);
    fclose(f);
    return b;
}

static void prepare(const char *answer, const char *stream) {
    char line[64]; Bytes body = file(answer), events = file(stream);
    say(&whole, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n");
    snprintf(line, sizeof line, "content-length: %zu\r\n\r\n", body.size); say(&whole, line);
    add(&whole, body.at, body.size);
    say(&head, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n");
    for (char *from = events.at, *end; from < events.at + events.size && chunk_count < CHUNKS; from = end + 2) {
        end = memmem(from, events.at + events.size - from, "\n\n", 2);
        if (!end) break;
        Bytes *c = &chunks[chunk_count++]; size_t size = end + 2 - from;
        snprintf(line, sizeof line, "%zx\r\n", size); say(c, line); add(c, from, size); say(c, "\r\n");
    }
    say(&chunks[chunk_count - 1], "0\r\n\r\n");
    add(&burst, head.at, head.size);
    for (int i = 0; i < chunk_count; i++) add(&burst, chunks[i].at, chunks[i].size);
}

static void flush(Connection *c) {
    while (c->sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.at + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
        if (n <= 0) return;
        c->sent += n;
    }
    c->sent = c->out.size = 0;
}

static void answer(Connection *c, const char *path, const char *body, size_t size) {
    if (!strncmp(path, "/pace/", 6)) {
        pace_us = atol(path + 6);
        say(&c->out, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    } else if (memmem(body, size, "\"stream\":true", 13) || memmem(body, size, "\"stream\": true", 14)) {
        if (pace_us) { add(&c->out, head.at, head.size); c->chunk = 0; c->due = now_ns(); }
        else add(&c->out, burst.at, burst.size);
    } else add(&c->out, whole.at, whole.size);
    flush(c);
}

/* The whole requests at the front of what was read, answered in order. 0: the connection is to be closed. */
static int read_requests(Connection *c) {
    for (;;) {
        char *end = memmem(c->in.at, c->in.size, "\r\n\r\n", 4);
        if (!end) return 1;
        size_t head_size = end + 4 - c->in.at, body = 0;
        *end = 0;
        char *length = strcasestr(c->in.at, "\r\ncontent-length:"), *te = strcasestr(c->in.at, "\r\ntransfer-encoding:");
        *end = '\r';
        if (length) {
            body = strtoul(length + 17, NULL, 10);
            if (c->in.size < head_size + body) return 1;
        } else if (te) { /* our peers' bodies hold no CRLF, so the last chunk is where this is found */
            char *last = memmem(end, c->in.size - (end - c->in.at), "\r\n0\r\n\r\n", 7);
            if (!last) return 1;
            body = last + 7 - (end + 4);
        }
        char *space = memchr(c->in.at, ' ', head_size);
        if (!space) return 0;
        answer(c, space + 1, c->in.at + head_size, body);
        c->in.size -= head_size + body;
        memmove(c->in.at, c->in.at + head_size + body, c->in.size);
    }
}

static int readable(Connection *c) {
    char part[262144];
    for (;;) {
        ssize_t n = recv(c->fd, part, sizeof part, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return 0;
        if (n < 0) return 1;
        add(&c->in, part, n);
        if (!read_requests(c)) return 0;
    }
}

static long long tick(Connection *c, long long now) {
    while (c->chunk >= 0 && c->due <= now) {
        add(&c->out, chunks[c->chunk].at, chunks[c->chunk].size);
        flush(c);
        c->due += pace_us * 1000LL;
        if (++c->chunk == chunk_count) c->chunk = -1;
    }
    return c->chunk >= 0 ? c->due : 0;
}

static void drop(int i) {
    Connection *c = open_[i];
    close(c->fd); free(c->in.at); free(c->out.at); free(c);
    open_[i] = open_[--count];
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: upstream PORT ANSWER STREAM\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    prepare(argv[2], argv[3]);
    int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&where, sizeof where) || listen(door, 512) || getsockname(door, (void *)&where, &size)) { perror("listen"); return 1; }
    printf("%d\n", ntohs(where.sin_port)); fflush(stdout);
    for (;;) {
        long long first = 0, now = now_ns();
        polled[0] = (struct pollfd){door, POLLIN, 0};
        for (int i = 0; i < count; i++) {
            Connection *c = open_[i];
            long long due = tick(c, now);
            if (due && (!first || due < first)) first = due;
            polled[i + 1] = (struct pollfd){c->fd, POLLIN | (c->sent < c->out.size ? POLLOUT : 0), 0};
        }
        long long wait = first ? (first > now ? first - now : 0) : 0;
        struct timespec t = {wait / 1000000000LL, wait % 1000000000LL};
        if (ppoll(polled, count + 1, first ? &t : NULL, NULL) < 0) continue;
        for (int i = count - 1; i >= 0; i--) { /* downwards: drop() moves the last one here */
            if (polled[i + 1].revents & POLLOUT) flush(open_[i]);
            if (polled[i + 1].revents & (POLLIN | POLLERR | POLLHUP) && !readable(open_[i])) drop(i);
        }
        for (int fd; count < CONNECTIONS && (fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
            Connection *c = calloc(1, sizeof *c);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            c->fd = fd; c->chunk = -1;
            open_[count++] = c;
        }
    }
}
