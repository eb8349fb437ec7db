/* A connection with TLS 1.3, by OpenSSL. Cipher and group are fixed, so that every server has the
 * same work; no session is resumed, so that every handshake is a whole one. The certificate isn't
 * checked, since what is measured is the server. */
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>

#include "stream.h"

static SSL_CTX *context;

static int trust(X509_STORE_CTX *store, void *argument)
{
    (void)store, (void)argument;
    return 1;
}

void streams_prepare(void)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)
        || !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256")
        || !SSL_CTX_set1_groups_list(context, "X25519"))
        exit(1);
    SSL_CTX_set_cert_verify_callback(context, trust, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

void stream_begin(struct stream *stream)
{
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, stream->fd))
        exit(1);
    SSL_set_connect_state(tls);
    stream->tls = tls;
}

static long outcome(struct stream *stream, int result)
{
    switch (SSL_get_error(stream->tls, result)) {
    case SSL_ERROR_NONE:
        return result;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return STREAM_WAITS;
    default:
        return STREAM_FAILED;
    }
}

long stream_shake_hands(struct stream *stream)
{
    long result = outcome(stream, SSL_do_handshake(stream->tls));
    return result > 0 ? 0 : result;
}

long stream_send(struct stream *stream, const char *data, size_t size)
{
    return outcome(stream, SSL_write(stream->tls, data, (int)size));
}

long stream_receive(struct stream *stream, char *data, size_t size)
{
    return outcome(stream, SSL_read(stream->tls, data, (int)size));
}

void stream_end(struct stream *stream) { SSL_free(stream->tls); }
