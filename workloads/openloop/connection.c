#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 65536

enum { AGAIN = -1, FAILED = -2 };

static enum connection_state broken(struct connection *connection, enum trouble trouble)
{
	connection->trouble = trouble;
	return connection->state = BROKEN;
}

void connection_open(struct connection *connection, uint16_t port, SSL_CTX *context)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int yes = 1;

	*connection = (struct connection){ .state = CONNECTING };
	connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (connect(connection->socket, (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS) {
		broken(connection, TROUBLE_CONNECT);
		return;
	}
	if (!context)
		return;
	connection->tls = SSL_new(context);
	if (!connection->tls || !SSL_set_fd(connection->tls, connection->socket)) {
		broken(connection, TROUBLE_CONNECT);
		return;
	}
	SSL_set_connect_state(connection->tls);
}

/* What a call of TLS says when it could not go on: whether to try again later. */
static int tls_waits(const struct connection *connection, int result)
{
	int why = SSL_get_error(connection->tls, result);

	ERR_clear_error();
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? AGAIN : FAILED;
}

static int waits(ssize_t result)
{
	return result < 0 && (errno == EAGAIN || errno == EINTR) ? AGAIN : FAILED;
}

/* Bytes that came, 0 at the end, AGAIN or FAILED. */
static ssize_t receive(const struct connection *connection, char *data, size_t size)
{
	ssize_t n;

	if (connection->tls) {
		n = SSL_read(connection->tls, data, (int)size);
		return n > 0 ? n : tls_waits(connection, (int)n);
	}
	n = recv(connection->socket, data, size, 0);
	return n >= 0 ? n : waits(n);
}

static ssize_t transmit(const struct connection *connection, const char *data, size_t size)
{
	ssize_t n;

	if (connection->tls) {
		n = SSL_write(connection->tls, data, (int)size);
		return n > 0 ? n : tls_waits(connection, (int)n);
	}
	n = send(connection->socket, data, size, MSG_NOSIGNAL);
	return n > 0 ? n : waits(n);
}

static enum connection_state connect_on(struct connection *connection)
{
	int error = 0, result;
	socklen_t size = sizeof(error);
	struct sockaddr_in peer;
	socklen_t peer_size = sizeof(peer);

	if (!connection->connected) {
		if (getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &error, &size) || error)
			return broken(connection, TROUBLE_CONNECT);
		if (getpeername(connection->socket, (struct sockaddr *)&peer, &peer_size))
			return errno == ENOTCONN ? CONNECTING : broken(connection, TROUBLE_CONNECT);
		connection->connected = 1;
	}
	if (!connection->tls)
		return connection->state = IDLE;
	result = SSL_do_handshake(connection->tls);
	if (result == 1)
		return connection->state = IDLE;
	return tls_waits(connection, result) == AGAIN ? CONNECTING : broken(connection, TROUBLE_CONNECT);
}

static enum connection_state send_on(struct connection *connection)
{
	ssize_t n = transmit(connection, connection->request + connection->sent, connection->length - connection->sent);

	if (n == FAILED)
		return broken(connection, TROUBLE_WRITE);
	if (n > 0)
		connection->sent += (size_t)n;
	return BUSY;
}

static enum connection_state receive_on(struct connection *connection)
{
	static char piece[PIECE];

	for (;;) {
		ssize_t n = receive(connection, piece, sizeof(piece));
		enum answer_state state;

		if (n == AGAIN)
			return BUSY;
		if (n <= 0)
			return broken(connection, TROUBLE_READ);
		state = answer_take(&connection->answer, piece, (size_t)n, connection->body);
		if (state == ANSWER_GOES_ON)
			continue;
		if (state != ANSWER_DONE)
			return broken(connection, state == ANSWER_STATUS ? TROUBLE_STATUS : TROUBLE_UNREADABLE);
		connection->state = IDLE;
		return ANSWERED;
	}
}

/* Nobody has asked: only tickets for later sessions may come, and they are no data. */
static enum connection_state rest(struct connection *connection)
{
	char byte;

	return receive(connection, &byte, 1) == AGAIN ? IDLE : broken(connection, TROUBLE_READ);
}

void connection_ask(struct connection *connection, const char *request, size_t length, uint64_t body)
{
	connection->request = request;
	connection->length = length;
	connection->sent = 0;
	connection->body = body;
	connection->state = BUSY;
	answer_begin(&connection->answer);
	send_on(connection);
}

enum connection_state connection_step(struct connection *connection)
{
	if (connection->state == CONNECTING && connect_on(connection) == CONNECTING)
		return CONNECTING;
	if (connection->state == BUSY && connection->sent < connection->length && send_on(connection) == BROKEN)
		return BROKEN;
	if (connection->state == BUSY)
		return receive_on(connection);
	return connection->state == IDLE ? rest(connection) : connection->state;
}
