#include "json.h"

#include <inttypes.h>

static void quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c == '\n')
			fputs("\\n", out);
		else if (*c < 0x20 || *c >= 0x7f) /* also bytes that may be no UTF-8: a reader must never fail on a log */
			fprintf(out, "\\u%04x", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

static void begin(struct json *json, const char *key)
{
	if (json->follows)
		fputs(", ", json->out);
	json->follows = 1;
	if (key) {
		quoted(json->out, key);
		fputs(": ", json->out);
	}
}

void json_open(struct json *json, const char *key, char bracket)
{
	begin(json, key);
	fputc(bracket, json->out);
	json->follows = 0;
}

void json_close(struct json *json, char bracket)
{
	fputc(bracket, json->out);
	json->follows = 1;
}

void json_null(struct json *json, const char *key)
{
	begin(json, key);
	fputs("null", json->out);
}

void json_string(struct json *json, const char *key, const char *value)
{
	if (!value) {
		json_null(json, key);
		return;
	}
	begin(json, key);
	quoted(json->out, value);
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	begin(json, key);
	fprintf(json->out, "%" PRIu64, value);
}

void json_integer(struct json *json, const char *key, int64_t value)
{
	begin(json, key);
	fprintf(json->out, "%" PRId64, value);
}

void json_hex(struct json *json, const char *key, const void *bytes, size_t size)
{
	const unsigned char *byte = bytes;

	begin(json, key);
	fputc('"', json->out);
	for (size_t i = 0; i < size; i++)
		fprintf(json->out, "%02x", byte[i]);
	fputc('"', json->out);
}
