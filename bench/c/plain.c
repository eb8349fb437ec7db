/* A connection without TLS. */
#include <errno.h>
#include <sys/socket.h>

#include "stream.h"

void streams_prepare(void) {}

void stream_begin(struct stream *stream) { (void)stream; }

long stream_shake_hands(struct stream *stream)
{
    (void)stream;
    return 0;
}

static long outcome(long moved)
{
    if (moved > 0)
        return moved;
    return moved < 0 && errno == EAGAIN ? STREAM_WAITS : STREAM_FAILED;
}

long stream_send(struct stream *stream, const char *data, size_t size)
{
    return outcome(send(stream->fd, data, size, MSG_NOSIGNAL));
}

long stream_receive(struct stream *stream, char *data, size_t size)
{
    return outcome(recv(stream->fd, data, size, 0));
}

void stream_end(struct stream *stream) { (void)stream; }
