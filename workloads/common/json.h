/*
 * Writes JSON to a stream, with the commas in the right places. Keys are NULL inside arrays and for the outermost
 * value.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	int follows; /* a value came before in the open object or array */
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_string(struct json *json, const char *key, const char *value); /* NULL is written as null */
void json_number(struct json *json, const char *key, uint64_t value);
void json_integer(struct json *json, const char *key, int64_t value);
void json_null(struct json *json, const char *key);
/* Bytes as one string of lower-case hexadecimal digits. */
void json_hex(struct json *json, const char *key, const void *bytes, size_t size);
