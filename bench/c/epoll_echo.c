/* The limit: an echo server with nothing but epoll. It prints its port, and serves until it is
 * ended. What a peer doesn't read is kept, and that peer not read from until it is gone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 512
#define BACKLOG 4096
#define READ_SIZE (256 * 1024)

struct session {
    int fd;
    char *rest; /* what the kernel hasn't taken, if anything */
    size_t size, sent;
};

static int epoll;
static char buffer[READ_SIZE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void want(struct session *session, uint32_t events, int operation)
{
    struct epoll_event event = {events, {.ptr = session}};
    if (epoll_ctl(epoll, operation, session->fd, &event))
        fail("epoll_ctl");
}

static void end(struct session *session)
{
    close(session->fd);
    free(session->rest);
    free(session);
}

static void accept_all(int listener)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct session *session = calloc(1, sizeof *session);
        if (!session)
            fail("calloc");
        session->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        want(session, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void receive(struct session *session)
{
    ssize_t size = recv(session->fd, buffer, sizeof buffer, 0);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN)
            end(session);
        return;
    }
    ssize_t sent = send(session->fd, buffer, size, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            end(session);
            return;
        }
        sent = 0;
    }
    if (sent == size)
        return;
    session->size = size - sent;
    session->sent = 0;
    session->rest = malloc(session->size);
    if (!session->rest)
        fail("malloc");
    memcpy(session->rest, buffer + sent, session->size);
    want(session, EPOLLOUT, EPOLL_CTL_MOD);
}

static void send_rest(struct session *session)
{
    ssize_t sent = send(session->fd, session->rest + session->sent, session->size - session->sent,
                        MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(session);
        return;
    }
    session->sent += sent < 0 ? 0 : sent;
    if (session->sent == session->size) {
        free(session->rest);
        session->rest = NULL;
        want(session, EPOLLIN, EPOLL_CTL_MOD);
    }
}

int main(void)
{
    static struct epoll_event events[EVENTS];
    struct rlimit files;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address)
        || listen(listener, BACKLOG))
        fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event accepting = {EPOLLIN, {.ptr = NULL}};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &accepting))
        fail("epoll");
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct session *session = events[i].data.ptr;
            if (!session)
                accept_all(listener);
            else if (session->rest)
                send_rest(session);
            else
                receive(session);
        }
    }
}
