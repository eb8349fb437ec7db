/* What the load generator asks of a connection: plain.c answers for TCP, tls.c for TLS over it. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>

struct stream {
    int fd;
    void *tls;
};

/* The kernel has nothing, or takes nothing, at the moment. */
#define STREAM_WAITS (-1L)
/* The connection is broken, or the peer has ended it. */
#define STREAM_FAILED (-2L)

/* Once, before any other. */
void streams_prepare(void);
/* The connection's socket is there, perhaps not connected yet. */
void stream_begin(struct stream *stream);
/* What comes before the first byte: 0 when it is done, or STREAM_WAITS, STREAM_FAILED. */
long stream_shake_hands(struct stream *stream);
/* How many bytes were moved, more than 0; or STREAM_WAITS, STREAM_FAILED. */
long stream_send(struct stream *stream, const char *data, size_t size);
long stream_receive(struct stream *stream, char *data, size_t size);
/* Before the socket is closed. */
void stream_end(struct stream *stream);

#endif
