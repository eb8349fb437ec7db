/* The load: connections to a server on this machine, each with one message under way.
 *
 *   load mode=messages|connects|idle port=N [name=value]...
 *
 *   messages  each connection sends `size` bytes, waits for the same bytes, and sends again. With
 *             `line`, they are lines of so many bytes, the line feed included.
 *   connects  the same, but each connection is new, for one message, and then reset: a reset leaves
 *             no TIME_WAIT behind, so that a run doesn't use up the ports of the machine.
 *   idle      opens `connections`, each used once; says "open"; keeps them until standard input
 *             ends.
 *
 * Every run is bounded in time (`warm_up` and `seconds`) and in messages (`most`). What happens in
 * the warm-up isn't counted, but there every answer is compared with what was sent. The result is a
 * line of JSON. With `pid`, it has the CPU time which that process has used meanwhile, and how long
 * it and the load have waited for cores that others used.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define EVENTS 512
#define SECOND 1000000000ull
/* Seconds beyond the time asked for in which a run has to end, whatever the server does. */
#define PATIENCE 40
/* Nanoseconds after the end in which every message that is under way has to be answered. */
#define ENDING (10 * SECOND)
/* Seconds in which an opening connection has to answer. */
#define OPENING 10

struct slot {
    struct stream stream;
    size_t unsent, unread;
    uint64_t began;
    int opening;
};

static struct {
    const char *mode;
    long port, connections, size, line, most, pid;
    double warm_up, seconds;
} ask = {.connections = 1, .size = 1, .most = 100000000, .warm_up = 0.2, .seconds = 1};

static char *payload, *answer;
static struct sockaddr_in server;
static struct slot *slots;
static int epoll;
static int new_each_time, comparing = 1, ending;
static long under_way;
static uint64_t completed, counted;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s (%s)\n", what, errno ? strerror(errno) : "no error number");
    exit(1);
}

static uint64_t now(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t))
        return 0;
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* Latencies in nanoseconds, in buckets a sixty-fourth of their value wide. */

#define FINE 6
#define BUCKETS ((64 - FINE) << FINE)
static uint64_t histogram[BUCKETS];

static void note_latency(uint64_t value)
{
    int shift = value >> FINE ? 63 - FINE - __builtin_clzll(value) : 0;
    histogram[(shift << FINE) + (value >> shift)]++;
}

/* In microseconds: what this part of all messages didn't exceed. */
static double percentile(double part)
{
    uint64_t sought = (uint64_t)(part * counted), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > sought) {
            int shift = i >> (FINE + 1) ? (i >> FINE) - 1 : 0;
            return ((uint64_t)(i - (shift << FINE)) << shift) / 1e3;
        }
    }
    return 0;
}

/* CPU time of the server, in all from its clock (nanoseconds), and by kind from proc(5) (ticks). */

struct cpu {
    uint64_t clock, mine, delay;
    unsigned long user, system;
};

/* How long a process has waited for a core that others used, in nanoseconds. */
static uint64_t read_delay(long pid)
{
    char path[64];
    unsigned long long delay = 0;
    snprintf(path, sizeof path, "/proc/%ld/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &delay) != 1)
        delay = 0;
    fclose(file);
    return delay;
}

static void read_cpu(struct cpu *cpu)
{
    clockid_t clock;
    char path[64], text[1024];
    memset(cpu, 0, sizeof *cpu);
    cpu->mine = now(CLOCK_PROCESS_CPUTIME_ID);
    if (!ask.pid || clock_getcpuclockid((pid_t)ask.pid, &clock))
        return;
    cpu->clock = now(clock);
    cpu->delay = read_delay(ask.pid) + read_delay(getpid());
    snprintf(path, sizeof path, "/proc/%ld/stat", ask.pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    char *rest = strrchr(text, ')'); /* the name before it may have spaces */
    if (rest)
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &cpu->user,
               &cpu->system);
}

static void close_slot(struct slot *slot)
{
    struct linger reset = {1, 0};
    stream_end(&slot->stream);
    setsockopt(slot->stream.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(slot->stream.fd);
}

/* A server may let only so many in from one address: each five hundred slots have one. */
static void leave_from_address_of(struct slot *slot, int fd)
{
    int late = 1; /* the port is chosen by connect, as without a bind; see ip(7) */
    long which = (slot - slots) / 500;
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (!which)
        return;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + which);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    if (bind(fd, (struct sockaddr *)&address, sizeof address))
        fail("bind");
}

static void open_slot(struct slot *slot, int blocking)
{
    int on = 1, kind = SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
    int fd = socket(AF_INET, kind, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (blocking) {
        struct timeval patience = {OPENING, 0};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    leave_from_address_of(slot, fd);
    slot->began = now(CLOCK_MONOTONIC);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("connect");
    slot->stream.fd = fd;
    slot->opening = 1;
    slot->unsent = slot->unread = ask.size;
    stream_begin(&slot->stream);
}

static void watch(struct slot *slot)
{
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = slot}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, slot->stream.fd, &event))
        fail("epoll_ctl");
}

/* Open a connection and use it once, so that the server is done with all that opening costs. */
static void open_and_try(struct slot *slot)
{
    size_t size = ask.line ? ask.line : 1;
    open_slot(slot, 1);
    if (stream_shake_hands(&slot->stream))
        fail("the handshake failed");
    slot->opening = 0;
    if (stream_send(&slot->stream, payload, size) != (long)size)
        fail("the first message wasn't sent");
    for (size_t got = 0; got < size;) {
        long more = stream_receive(&slot->stream, answer, size - got);
        if (more <= 0)
            fail("the first message wasn't answered");
        got += more;
    }
    if (fcntl(slot->stream.fd, F_SETFL, fcntl(slot->stream.fd, F_GETFL) | O_NONBLOCK))
        fail("fcntl");
}

static void next_message(struct slot *slot)
{
    uint64_t time = now(CLOCK_MONOTONIC);
    if (ending) {
        under_way--;
        return;
    }
    completed++;
    if (!comparing) {
        note_latency(time - slot->began);
        counted++;
    }
    if (new_each_time) {
        close_slot(slot);
        open_slot(slot, 0);
        watch(slot);
        return;
    }
    slot->began = time;
    slot->unsent = slot->unread = ask.size;
}

/* Move what can be moved; edge-triggered, so until the kernel says no, or nothing is left. */
static void advance(struct slot *slot, int readable)
{
    if (slot->opening) {
        long state = stream_shake_hands(&slot->stream);
        if (state == STREAM_FAILED)
            fail("a handshake failed");
        if (state == STREAM_WAITS)
            return;
        slot->opening = 0;
    }
    while (readable && slot->unread && slot->unread > slot->unsent) {
        size_t place = ask.size - slot->unread, due = slot->unread - slot->unsent;
        long got = stream_receive(&slot->stream, answer, due);
        if (got == STREAM_WAITS)
            break;
        if (got == STREAM_FAILED)
            fail("the server ended a connection");
        if (comparing && memcmp(answer, payload + place, got)) {
            errno = 0;
            fail("the server's answer isn't what was sent");
        }
        slot->unread -= got;
        if (!slot->unread)
            next_message(slot);
    }
    while (slot->unsent && !slot->opening) {
        long sent = stream_send(&slot->stream, payload + ask.size - slot->unsent, slot->unsent);
        if (sent == STREAM_WAITS)
            return;
        if (sent == STREAM_FAILED)
            fail("the server doesn't take a message");
        slot->unsent -= sent;
    }
}

static void run(void)
{
    static struct epoll_event events[EVENTS];
    struct cpu before, after;
    uint64_t start = now(CLOCK_MONOTONIC), from = start + ask.warm_up * SECOND;
    uint64_t until = from + ask.seconds * SECOND, stop = 0;

    for (long i = 0; i < ask.connections; i++) {
        if (new_each_time)
            open_slot(&slots[i], 0);
        else
            slots[i].began = now(CLOCK_MONOTONIC);
        slots[i].unsent = slots[i].unread = ask.size;
        watch(&slots[i]);
    }
    under_way = ask.connections;
    while (under_way) {
        int count = epoll_wait(epoll, events, EVENTS, 50);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        uint64_t time = now(CLOCK_MONOTONIC);
        if (comparing && time >= from) {
            comparing = 0;
            start = time;
            read_cpu(&before);
        }
        if (!ending && (time >= until || completed >= (uint64_t)ask.most)) {
            ending = 1;
            stop = time;
            read_cpu(&after);
        }
        errno = 0;
        if (ending && time - stop > ENDING)
            fail("a message was never answered");
        for (int i = 0; i < count; i++) {
            struct slot *slot = events[i].data.ptr;
            advance(slot, events[i].events & ~EPOLLOUT);
        }
    }
    errno = 0;
    if (comparing)
        fail("the bound on messages was reached in the warm-up");
    if (!counted)
        fail("no message was answered in time");
    double ticks = sysconf(_SC_CLK_TCK);
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
           "\"server_cpu\": %.6f, \"server_user\": %.2f, \"server_system\": %.2f, "
           "\"load_cpu\": %.6f, \"waited\": %.6f}\n",
           (unsigned long long)counted, (double)(stop - start) / SECOND, percentile(0.5),
           percentile(0.99), percentile(0.999), (double)(after.clock - before.clock) / SECOND,
           (after.user - before.user) / ticks, (after.system - before.system) / ticks,
           (double)(after.mine - before.mine) / SECOND,
           (double)(after.delay - before.delay) / SECOND);
}

static void parse(int count, char **words)
{
    const struct {
        const char *name;
        long *value;
    } numbers[] = {{"port", &ask.port}, {"connections", &ask.connections}, {"size", &ask.size},
                   {"line", &ask.line}, {"most", &ask.most}, {"pid", &ask.pid}};
    errno = 0;
    for (int i = 1; i < count; i++) {
        char *equals = strchr(words[i], '=');
        size_t length = equals ? (size_t)(equals - words[i]) : 0, known = 0;
        if (length == 4 && !strncmp(words[i], "mode", 4)) {
            ask.mode = equals + 1;
            known = 1;
        } else if (length == 7 && !strncmp(words[i], "warm_up", 7)) {
            ask.warm_up = atof(equals + 1);
            known = 1;
        } else if (length == 7 && !strncmp(words[i], "seconds", 7)) {
            ask.seconds = atof(equals + 1);
            known = 1;
        }
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (length == strlen(numbers[k].name) && !strncmp(words[i], numbers[k].name, length)) {
                *numbers[k].value = atol(equals + 1);
                known = 1;
            }
        if (!known)
            fail(words[i]);
    }
    if (!ask.mode || ask.port < 1 || ask.connections < 1 || ask.size < 1 || ask.most < 1)
        fail("usage: load mode=messages|connects|idle port=N [name=value]...");
}

int main(int count, char **words)
{
    struct rlimit files;
    parse(count, words);
    alarm((unsigned)(ask.warm_up + ask.seconds) + PATIENCE);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)ask.port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    streams_prepare();

    slots = calloc(ask.connections, sizeof *slots);
    payload = malloc(ask.size + ask.line + 1);
    answer = malloc(ask.size + ask.line + 1);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!slots || !payload || !answer || epoll < 0)
        fail("setting up");
    for (long i = 0; i < ask.size + ask.line; i++)
        payload[i] = ask.line && i % ask.line == ask.line - 1 ? '\n' : 'a' + i * 7 % 26;

    new_each_time = !strcmp(ask.mode, "connects");
    for (long i = 0; i < ask.connections && !new_each_time; i++)
        open_and_try(&slots[i]);
    if (!strcmp(ask.mode, "idle")) {
        puts("open");
        fflush(stdout);
        while (getchar() != EOF) {
        }
    } else {
        run();
    }
    for (long i = 0; i < ask.connections; i++)
        close_slot(&slots[i]);
    return 0;
}
