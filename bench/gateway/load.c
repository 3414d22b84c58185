/* Sends one request over and over and times the answers.

   load PORT FILE CONNECTIONS REQUESTS SECONDS INTERVAL_US EXPECT [FIRST]
   FILE: the request's bytes as they go out; "@@@@@@@@" in it becomes a number, another one for each request, from FIRST on.
   Ends after REQUESTS, or when SECONDS are over and what was asked is answered. INTERVAL_US: time between the starts of
   two requests of one connection (0: at once). An answer counts when its status is 200 and EXPECT is in it.
   Prints {"ok", "failed", "wall_s", "first_failure", "latency_ms": [p50, p99], "gap_ms": [p50, p99]}; a gap is the time
   between two events of a stream. One thread, ppoll, loopback only. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#define CONNECTIONS 256
#define SAMPLES (1 << 21)
#define ROOM (4 << 20)

typedef struct { int fd, busy; char *in; size_t size, head, sent; long length; int chunked; long long start, next, event; } Connection;

static Connection connections[CONNECTIONS];
static struct pollfd polled[CONNECTIONS];
static char *request, *mark; static size_t request_size;
static float *latencies, *gaps; static int latency_count, gap_count;
static int port, started, ok, failed; static long number;
static char first_failure[200];
static const char *expect;

static long long now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }

static void sample(float *where, int *n, long long ns) { if (*n < SAMPLES) where[(*n)++] = ns / 1e6f; }

static void reach(Connection *c) {
    int one = 1; struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (c->fd > 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&where, sizeof where)) { perror("connect"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void ask(Connection *c, long long now) {
    if (mark) { char digits[16]; snprintf(digits, sizeof digits, "%08ld", number++ % 100000000); memcpy(mark, digits, 8); }
    c->size = c->head = 0; c->busy = 1; c->start = c->event = now; c->length = -1; c->chunked = 0;
    started++;
    for (size_t sent = 0; sent < request_size;) { /* blocking: a request of 100 kB fits the socket's buffers or the peer reads it */
        ssize_t n = send(c->fd, request + sent, request_size - sent, MSG_NOSIGNAL);
        if (n <= 0) break; /* what is wrong shows when the answer is read */
        sent += n;
    }
}

static void done(Connection *c, const char *trouble, long long now) {
    c->in[c->size < ROOM ? c->size : ROOM - 1] = 0;
    if (!trouble && strncmp(c->in + 8, " 200", 4)) trouble = "status";
    if (!trouble && !memmem(c->in, c->size, expect, strlen(expect))) trouble = "answer";
    if (trouble) {
        if (!failed++) snprintf(first_failure, sizeof first_failure, "%s: %.150s", trouble, c->size > c->head ? c->in + (strncmp(trouble, "status", 6) ? c->head : 9) : "");
    } else { ok++; sample(latencies, &latency_count, now - c->start); }
    c->busy = 0;
    if (trouble || strcasestr(c->in, "\r\nconnection: close")) reach(c);
}

static void readable(Connection *c) {
    size_t before = c->size;
    ssize_t n = recv(c->fd, c->in + c->size, ROOM - 1 - c->size, 0);
    long long now = now_ns();
    if (n <= 0) {
        if (!c->busy) reach(c);
        else done(c, c->head && c->length < 0 && !c->chunked ? NULL : "cut", now);
        return;
    }
    c->size += n;
    if (!c->head) {
        char *end = memmem(c->in, c->size, "\r\n\r\n", 4);
        if (!end) return;
        c->head = end + 4 - c->in;
        char kept = c->in[c->head - 1]; c->in[c->head - 1] = 0;
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        if (length) c->length = atol(length + 17);
        c->chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
        c->in[c->head - 1] = kept;
        before = c->head;
    }
    if (c->chunked) {
        for (char *at = c->in + (before > c->head ? before - 1 : before), *end; (end = memmem(at, c->in + c->size - at, "\n\n", 2)); at = end + 2) {
            if (c->event != c->start) sample(gaps, &gap_count, now - c->event);
            c->event = now;
        }
        if (c->size - c->head >= 5 && !memcmp(c->in + c->size - 5, "0\r\n\r\n", 5)) done(c, NULL, now);
    } else if (c->length >= 0 && c->size - c->head >= (size_t)c->length) done(c, NULL, now);
    else if (c->size >= ROOM - 1) done(c, "too long", now);
}

static int smaller(const void *a, const void *b) { float x = *(const float *)a, y = *(const float *)b; return x < y ? -1 : x > y; }

static void percentiles(const char *name, float *samples, int n) {
    qsort(samples, n, sizeof *samples, smaller);
    if (n) printf(", \"%s\": [%.4f, %.4f]", name, samples[n / 2], samples[(int)(n * 0.99)]);
    else printf(", \"%s\": null", name);
}

int main(int argc, char **argv) {
    if (argc < 8) { fprintf(stderr, "usage: load PORT FILE CONNECTIONS REQUESTS SECONDS INTERVAL_US EXPECT [FIRST]\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    FILE *f = fopen(argv[2], "rb");
    request = malloc(ROOM); request_size = f ? fread(request, 1, ROOM, f) : 0;
    if (!request_size) { perror(argv[2]); return 1; }
    mark = memmem(request, request_size, "@@@@@@@@", 8);
    int wide = atoi(argv[3]), most = atoi(argv[4]);
    double seconds = atof(argv[5]); long long interval = atoll(argv[6]) * 1000;
    expect = argv[7]; number = argc > 8 ? atol(argv[8]) : 0;
    if (wide > CONNECTIONS) wide = CONNECTIONS;
    latencies = malloc(SAMPLES * sizeof(float)); gaps = malloc(SAMPLES * sizeof(float));
    for (int i = 0; i < wide; i++) { connections[i].in = malloc(ROOM); reach(&connections[i]); }
    long long begin = now_ns(), stop = begin + (long long)(seconds * 1e9), hang = stop + 60000000000LL;
    for (int i = 0; i < wide; i++) connections[i].next = begin + interval * i / wide;
    for (;;) {
        long long now = now_ns(), first = hang;
        int busy = 0, more = started < most && now < stop && failed < 50;
        for (int i = 0; i < wide; i++) {
            Connection *c = &connections[i];
            if (!c->busy && more && started < most && c->next <= now) { ask(c, now_ns()); c->next = (interval ? c->next : now) + interval; }
            if (!c->busy && c->next < first) first = c->next;
            busy += c->busy;
            polled[i] = (struct pollfd){c->fd, POLLIN, 0};
        }
        if ((!more && !busy) || now > hang) break;
        long long wait = more && first > now ? first - now : more && !busy ? 0 : hang - now;
        struct timespec t = {wait / 1000000000LL, wait % 1000000000LL};
        if (ppoll(polled, wide, &t, NULL) < 0) continue;
        for (int i = 0; i < wide; i++) if (polled[i].revents) readable(&connections[i]);
    }
    for (char *c = first_failure; *c; c++) if (*c < 32 || *c == '"' || *c == '\\' || *c > 126) *c = ' ';
    printf("{\"ok\": %d, \"failed\": %d, \"wall_s\": %.6f, \"first_failure\": \"%s\"", ok, failed + (started - ok - failed), (now_ns() - begin) / 1e9, first_failure);
    percentiles("latency_ms", latencies, latency_count);
    percentiles("gap_ms", gaps, gap_count);
    printf("}\n");
    return 0;
}
