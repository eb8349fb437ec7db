/* A steady load: so many messages a second, whether or not the server keeps up.
 *
 *   steady PORT RATE CONNECTIONS SECONDS
 *
 * Each connection has its messages at times of its own, evenly spread. What a message took is
 * counted from when it was due, so one that waits for the answer before it has waited, too. The
 * first second isn't counted. The result is a line of JSON: messages, seconds, and latencies in
 * microseconds.
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
/* Microseconds that are told apart: up to two seconds. */
#define MOST 2000000

struct slot {
    int fd;
    size_t unread;
    uint64_t due;
};

static uint32_t histogram[MOST + 1];
static char payload[SIZE], answer[SIZE];
static uint64_t interval, from, until, counted;

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

static double percentile(double part)
{
    uint64_t sought = (uint64_t)(part * counted), seen = 0;
    for (long i = 0; i <= MOST; i++)
        if ((seen += histogram[i]) > sought)
            return i;
    return MOST;
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
        uint64_t taken = (time - slot->due) / 1000;
        histogram[taken < MOST ? taken : MOST]++;
        counted++;
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
    printf("{\"messages\": %llu, \"seconds\": %ld, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f}\n",
           (unsigned long long)counted, seconds, percentile(0.5), percentile(0.99),
           percentile(0.999));
    return 0;
}
