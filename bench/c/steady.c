/* A steady load: so many messages a second, whether or not the server keeps up.
 *
 *   steady PORT RATE CONNECTIONS SECONDS
 *
 * Each connection has its messages at times of its own, evenly spread. What a message took is
 * counted from when it was due, so one that waits for the answer before it has waited, too. The
 * first second isn't counted. The result is a line of JSON: messages, seconds, latencies in
 * microseconds, and the 99th percentile of each second by itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SIZE 64
#define EVENTS 256
#define SECOND 1000000000ull
/* Nanoseconds between two looks at what is due. */
#define TICK 250000

struct slot {
    int fd;
    size_t unread;
    uint64_t due;
};

/* What each message took, in microseconds: of each second, those that were due in it. */
static uint32_t *taken;
static size_t *counts, room;
static char payload[SIZE], answer[SIZE];
static uint64_t interval, from, until;

static void fail(const char *what)
{
    fprintf(stderr, "steady: %s (%s)\n", what, errno ? strerror(errno) : "no error number");
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int compare(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static uint32_t percentile(const uint32_t *sorted, size_t count, double part)
{
    return count ? sorted[(size_t)(part * (double)(count - 1))] : 0;
}

static void report(long seconds)
{
    size_t all = 0;
    printf("{\"p99_of_seconds\": [");
    for (long i = 0; i < seconds; i++) {
        uint32_t *mine = taken + i * room;
        qsort(mine, counts[i], sizeof *mine, compare);
        printf("%s%u", i ? ", " : "", percentile(mine, counts[i], 0.99));
        memmove(taken + all, mine, counts[i] * sizeof *mine);
        all += counts[i];
    }
    qsort(taken, all, sizeof *taken, compare);
    printf("], \"messages\": %zu, \"seconds\": %ld, \"p50\": %u, \"p99\": %u, \"p999\": %u}\n", all,
           seconds, percentile(taken, all, 0.5), percentile(taken, all, 0.99),
           percentile(taken, all, 0.999));
}

static void send_if_due(struct slot *slot, uint64_t time)
{
    if (slot->unread || slot->due > time)
        return;
    if (send(slot->fd, payload, SIZE, 0) != SIZE)
        fail("the server doesn't take a message");
    slot->unread = SIZE;
}

static void receive(struct slot *slot)
{
    ssize_t got = recv(slot->fd, answer, slot->unread, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        fail("the server ended a connection");
    slot->unread -= got;
    if (slot->unread)
        return;
    uint64_t time = now();
    if (slot->due >= from && slot->due < until) {
        size_t second = (slot->due - from) / SECOND;
        if (counts[second] < room)
            taken[second * room + counts[second]++] = (uint32_t)((time - slot->due) / 1000);
    }
    slot->due += interval;
    send_if_due(slot, time);
}

int main(int count, char **words)
{
    struct sockaddr_in server = {.sin_family = AF_INET};
    struct epoll_event events[EVENTS];
    struct itimerspec tick = {{0, TICK}, {0, TICK}};
    int on = 1, epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (count != 5)
        fail("usage: steady PORT RATE CONNECTIONS SECONDS");
    long rate = atol(words[2]), connections = atol(words[3]), seconds = atol(words[4]);
    if (rate < 1 || connections < 1 || seconds < 1)
        fail("RATE, CONNECTIONS and SECONDS are 1 at least");
    struct slot *slots = calloc(connections, sizeof *slots);
    room = (size_t)(rate + connections);
    taken = calloc(seconds * room, sizeof *taken);
    counts = calloc(seconds, sizeof *counts);
    if (!slots || !taken || !counts)
        fail("memory");
    memset(taken, 1, seconds * room * sizeof *taken);    /* to have it now, not amid the measuring */
    alarm((unsigned)seconds + 30);
    server.sin_port = htons((uint16_t)atol(words[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    interval = SECOND * connections / rate;
    for (long i = 0; i < connections; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = &slots[i]}};
        slots[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(slots[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(slots[i].fd, (struct sockaddr *)&server, sizeof server))
            fail("connect");
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, slots[i].fd, &event))
            fail("epoll_ctl");
    }
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    timerfd_settime(timer, 0, &tick, NULL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    uint64_t start = now() + SECOND / 100, time;
    from = start + SECOND;
    until = from + seconds * SECOND;
    for (long i = 0; i < connections; i++)
        slots[i].due = start + interval * i / connections;
    while ((time = now()) < until + SECOND / 10) {
        int ready = epoll_wait(epoll, events, EVENTS, 10);
        errno = 0;
        for (int i = 0; i < ready; i++) {
            uint64_t ticks;
            if (events[i].data.ptr)
                receive(events[i].data.ptr);
            else if (read(timer, &ticks, sizeof ticks) == sizeof ticks)
                for (long k = 0; k < connections; k++)
                    send_if_due(&slots[k], now());
        }
    }
    report(seconds);
    return 0;
}
