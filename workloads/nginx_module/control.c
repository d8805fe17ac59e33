/*
 * What the gate tells about itself, as JSON. The last part of the path says what is wanted:
 *
 *     state		what runs, and what it has counted
 *     trespass		runs a bad rule that reads after nginx's secret
 *     decide?calls=N&wanted=N&most=N&calm=PERMILLE&path=PATH
 *			asks the engine again and again, in timed rounds; nothing else happens in this process meanwhile
 */
#include "module.h"

#include "json.h"
#include "rounds.h"

enum { MOST_CALLS = 100000000 };

struct asking {
	struct gate *gate;
	const u_char *path;
	size_t length;
	uint64_t passed, errors;
};

static void tell_state(struct json *reply, struct gate *gate)
{
	struct gate_counters counters = {};

	json_string(reply, "engine", gate->about.engine);
	json_string(reply, "bounded_by", gate->about.bounded_by);
	json_number(reply, "compile_ns", gate->about.compile_ns);
	json_number(reply, "code_size", gate->about.code_size);
	json_number(reply, "generation", gate->generation);
	if (gate->engine->count(&counters))
		gate->errors++;
	json_number(reply, "accepted", counters.accepted);
	json_number(reply, "rejected", counters.rejected);
	json_number(reply, "errors", gate->errors);
}

/* Byte by byte, until one cannot be had. */
static void tell_trespass(struct json *reply, struct gate *gate)
{
	char said[512] = "";
	size_t got = 0, right = 0;

	for (; got < sizeof(gate->secret); got++) {
		uint8_t found = 0;

		if (!gate->engine->trespass(&gate->secret[got], &found, said, sizeof(said)))
			break;
		right += found == gate->secret[got];
	}
	json_number(reply, "read", got);
	json_number(reply, "right", right);
	json_string(reply, "said", said);
}

static uint64_t ask_often(void *own, uint64_t calls)
{
	struct asking *asking = own;
	uint64_t start = clock_ns(), passed = 0, errors = 0;

	for (uint64_t i = 0; i < calls; i++) {
		int passes = gate_ask(asking->gate, asking->path, asking->length);

		passed += passes > 0;
		errors += passes < 0;
	}
	start = clock_ns() - start;
	asking->passed += passed;
	asking->errors += errors;
	return start;
}

static ngx_int_t number(ngx_http_request_t *request, const char *name, ngx_int_t least, ngx_int_t most)
{
	ngx_str_t value;
	ngx_int_t found;

	if (ngx_http_arg(request, (u_char *)name, strlen(name), &value) != NGX_OK)
		return NGX_ERROR;
	found = ngx_atoi(value.data, value.len);
	return found < least || found > most ? NGX_ERROR : found;
}

static ngx_int_t tell_decisions(struct json *reply, struct gate *gate, ngx_http_request_t *request)
{
	ngx_int_t calls = number(request, "calls", 1, MOST_CALLS), wanted = number(request, "wanted", 1, MOST_ROUNDS);
	ngx_int_t most = number(request, "most", 1, MOST_ROUNDS), calm = number(request, "calm", 0, MOST_CALLS);
	struct asking asking = { .gate = gate };
	static struct rounds rounds;
	ngx_str_t path;

	if (calls < 0 || wanted < 0 || most < wanted || calm < 0 || ngx_http_arg(request, (u_char *)"path", 4, &path) != NGX_OK)
		return NGX_HTTP_BAD_REQUEST;
	asking.path = path.data;
	asking.length = path.len;
	gauge_start(&rounds.core, (uint64_t)calm);
	rounds_make(&rounds, ask_often, &asking, (uint64_t)calls, (uint64_t)wanted, (uint64_t)most);
	json_number(reply, "calls", (uint64_t)calls * rounds.made);
	json_number(reply, "passed", asking.passed);
	json_number(reply, "errors", asking.errors);
	rounds_report(reply, &rounds);
	return NGX_OK;
}

static int last_part_is(const ngx_http_request_t *request, const char *name)
{
	size_t length = strlen(name);
	const ngx_str_t *uri = &request->uri;

	return uri->len > length && uri->data[uri->len - length - 1] == '/' && !memcmp(uri->data + uri->len - length, name, length);
}

static ngx_int_t send_answer(ngx_http_request_t *request, const char *text)
{
	ngx_buf_t *buffer = ngx_create_temp_buf(request->pool, strlen(text));
	ngx_chain_t out = { buffer, NULL };
	ngx_int_t sent;

	if (!buffer)
		return NGX_HTTP_INTERNAL_SERVER_ERROR;
	buffer->last = ngx_cpymem(buffer->pos, text, strlen(text));
	buffer->last_buf = 1;
	request->headers_out.status = NGX_HTTP_OK;
	request->headers_out.content_length_n = (off_t)strlen(text);
	ngx_str_set(&request->headers_out.content_type, "application/json");
	sent = ngx_http_send_header(request);
	return sent == NGX_ERROR || sent > NGX_OK || request->header_only ? sent : ngx_http_output_filter(request, &out);
}

static ngx_int_t tell(struct json *reply, struct gate *gate, ngx_http_request_t *request)
{
	if (last_part_is(request, "state"))
		tell_state(reply, gate);
	else if (last_part_is(request, "trespass"))
		tell_trespass(reply, gate);
	else if (last_part_is(request, "decide"))
		return tell_decisions(reply, gate, request);
	else
		return NGX_HTTP_NOT_FOUND;
	return NGX_OK;
}

ngx_int_t gate_control(ngx_http_request_t *request)
{
	struct gate *gate = ngx_http_get_module_main_conf(request, ngx_http_gate_module);
	struct json reply = {};
	char *text = NULL;
	size_t size = 0;
	ngx_int_t told = ngx_http_discard_request_body(request);

	if (told != NGX_OK)
		return told;
	reply.out = open_memstream(&text, &size);
	if (!reply.out)
		return NGX_HTTP_INTERNAL_SERVER_ERROR;
	json_open(&reply, NULL, '{');
	told = tell(&reply, gate, request);
	json_close(&reply, '}');
	if (fclose(reply.out))
		told = NGX_HTTP_INTERNAL_SERVER_ERROR;
	if (told == NGX_OK)
		told = send_answer(request, text);
	free(text);
	return told;
}
