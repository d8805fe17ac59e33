/* The module's own state, and what its two parts want of each other. */
#pragma once

#include "gate.h"

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <sys/random.h>

struct gate {
	char **words; /* the engine's library, and its arguments */
	size_t n_words;
	ngx_str_t rules;
	const struct gate_engine *engine;
	const struct gate_file *file;
	uint64_t generation; /* of the rules that the engine has */
	uint64_t errors;     /* decisions that failed */
	struct gate_about about;
	unsigned char secret[16]; /* what no extension is to see */
};

struct location {
	ngx_flag_t on;
};

extern ngx_module_t ngx_http_gate_module;

/* Asks the engine, with the rules as they are now: 1 may pass, 0 may not, -1 no answer. */
int gate_ask(struct gate *gate, const u_char *path, size_t length);

/* Handler of a location. */
ngx_int_t gate_control(ngx_http_request_t *request);
