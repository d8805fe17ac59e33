/* A connection that never blocks, over TCP or TLS, and the one request that is on its way there. */
#pragma once

#include "answer.h"

#include <openssl/ssl.h>

enum connection_state {
	CONNECTING,
	IDLE,	 /* ready for a request */
	BUSY,	 /* a request is on its way */
	ANSWERED, /* told once; it is IDLE then */
	BROKEN,
};

enum trouble { TROUBLE_CONNECT, TROUBLE_READ, TROUBLE_WRITE, TROUBLE_STATUS, TROUBLE_UNREADABLE, TROUBLES };

struct connection {
	int socket, connected;
	SSL *tls; /* NULL: plain */
	enum connection_state state;
	enum trouble trouble; /* of a broken one */
	const char *request;
	size_t length, sent;
	uint64_t body;
	struct answer answer;
};

/* Begins to connect to a port of the loopback interface; with TLS if there is a context. */
void connection_open(struct connection *connection, uint16_t port, SSL_CTX *context);
/* Begins to send a request, whose answer's body must have `body` bytes. The text must live on. */
void connection_ask(struct connection *connection, const char *request, size_t length, uint64_t body);
/* Does whatever can be done without waiting, and returns the state; whoever is ANSWERED may be asked again. */
enum connection_state connection_step(struct connection *connection);
