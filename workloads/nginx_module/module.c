/*
 * The module: asks an engine whether the path of a request may pass, and answers 403 if not.
 *
 *     gate_engine FILE [WORD…];   in http: the engine's library and its own arguments
 *     gate_rules FILE;	           in http: the rules (gate.h), looked at before each decision
 *     gate on;	                   in a location: requests are asked about
 *     gate_control;	           in a location: answers about the gate itself (control.c)
 *
 * The engine is opened in the worker, for it may have threads and handlers of signals. Where it cannot be opened, the worker ends.
 */
#include "module.h"

#include <dlfcn.h>
#include <sys/mman.h>

static void *make_main(ngx_conf_t *configuration)
{
	return ngx_pcalloc(configuration->pool, sizeof(struct gate));
}

static void *make_location(ngx_conf_t *configuration)
{
	struct location *location = ngx_palloc(configuration->pool, sizeof(*location));

	if (location)
		location->on = NGX_CONF_UNSET;
	return location;
}

static char *merge_location(ngx_conf_t *configuration, void *above, void *own)
{
	(void)configuration;
	ngx_conf_merge_value(((struct location *)own)->on, ((struct location *)above)->on, 0);
	return NGX_CONF_OK;
}

static char *take_engine(ngx_conf_t *configuration, ngx_command_t *command, void *own)
{
	struct gate *gate = own;
	ngx_str_t *words = configuration->args->elts;
	ngx_uint_t n = configuration->args->nelts - 1;

	(void)command;
	if (gate->words)
		return "is duplicate";
	gate->words = ngx_pcalloc(configuration->pool, n * sizeof(*gate->words));
	if (!gate->words)
		return NGX_CONF_ERROR;
	for (ngx_uint_t i = 0; i < n; i++)
		gate->words[i] = (char *)words[i + 1].data; /* nginx ends them with a zero */
	gate->n_words = n;
	return NGX_CONF_OK;
}

static char *take_control(ngx_conf_t *configuration, ngx_command_t *command, void *own)
{
	ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(configuration, ngx_http_core_module);

	(void)command, (void)own;
	core->handler = gate_control;
	return NGX_CONF_OK;
}

static int rules_are_sound(const struct gate_rules *rules)
{
	if (rules->count > GATE_RULES)
		return 0;
	for (uint32_t i = 0; i < rules->count; i++)
		if (rules->rule[i].length > GATE_PREFIX)
			return 0;
	return 1;
}

/* Takes rules over that are being changed only when that is done; rules that make no sense, not at all. */
static void look_at_rules(struct gate *gate)
{
	uint64_t generation = __atomic_load_n(&gate->file->generation, __ATOMIC_ACQUIRE);
	struct gate_rules rules;

	if (__builtin_expect(generation == gate->generation || generation & 1, 1))
		return;
	rules = gate->file->rules;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&gate->file->generation, __ATOMIC_RELAXED) != generation)
		return;
	if (rules_are_sound(&rules) && !gate->engine->set(&rules))
		gate->generation = generation;
}

int gate_ask(struct gate *gate, const u_char *path, size_t length)
{
	look_at_rules(gate);
	return gate->engine->decide(path, length);
}

static ngx_int_t on_access(ngx_http_request_t *request)
{
	const struct location *location = ngx_http_get_module_loc_conf(request, ngx_http_gate_module);
	struct gate *gate = ngx_http_get_module_main_conf(request, ngx_http_gate_module);
	int passes;

	if (!location->on || request != request->main)
		return NGX_DECLINED;
	passes = gate_ask(gate, request->uri.data, request->uri.len);
	if (passes < 0) {
		gate->errors++;
		return NGX_HTTP_INTERNAL_SERVER_ERROR;
	}
	return passes ? NGX_DECLINED : NGX_HTTP_FORBIDDEN;
}

static ngx_int_t put_in_place(ngx_conf_t *configuration)
{
	ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(configuration, ngx_http_core_module);
	struct gate *gate = ngx_http_conf_get_module_main_conf(configuration, ngx_http_gate_module);
	ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_ACCESS_PHASE].handlers);

	if (!handler)
		return NGX_ERROR;
	if (!gate->words || !gate->rules.len) {
		ngx_conf_log_error(NGX_LOG_EMERG, configuration, 0, "gate: gate_engine and gate_rules are wanted in http");
		return NGX_ERROR;
	}
	*handler = on_access;
	return ngx_conf_full_name(configuration->cycle, &gate->rules, 0);
}

static const char *map_rules(struct gate *gate)
{
	int file = open((char *)gate->rules.data, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *place;

	if (file < 0)
		return "the file of rules cannot be opened";
	place = fstat(file, &status) || (size_t)status.st_size < sizeof(*gate->file)
			? MAP_FAILED
			: mmap(NULL, sizeof(*gate->file), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (place == MAP_FAILED)
		return "the file of rules is too short, or cannot be mapped";
	gate->file = place;
	return NULL;
}

static enum gate_opened open_gate(struct gate *gate)
{
	const char *wrong = map_rules(gate);
	void *library = dlopen(gate->words[0], RTLD_NOW | RTLD_LOCAL);

	if (!wrong && !library)
		wrong = dlerror();
	gate->engine = library ? dlsym(library, GATE_ENGINE) : NULL;
	if (!wrong && !gate->engine)
		wrong = "the library is no engine";
	if (wrong) {
		snprintf(gate->about.wrong, sizeof(gate->about.wrong), "%s", wrong);
		return GATE_FAILED;
	}
	return gate->engine->open(gate->words + 1, gate->n_words - 1, &gate->about);
}

static ngx_int_t on_worker(ngx_cycle_t *cycle)
{
	struct gate *gate = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gate_module);
	enum gate_opened opened = open_gate(gate);

	if (opened == GATE_OPEN && getrandom(gate->secret, sizeof(gate->secret), 0) == sizeof(gate->secret)) {
		look_at_rules(gate);
		return NGX_OK;
	}
	ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "gate: %s: %s", opened == GATE_UNSUPPORTED ? "unsupported" : "failed", gate->about.wrong);
	return NGX_ERROR;
}

static ngx_command_t commands[] = {
	{ ngx_string("gate_engine"), NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE, take_engine, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },
	{ ngx_string("gate_rules"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot, NGX_HTTP_MAIN_CONF_OFFSET,
	  offsetof(struct gate, rules), NULL },
	{ ngx_string("gate"), NGX_HTTP_LOC_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot, NGX_HTTP_LOC_CONF_OFFSET,
	  offsetof(struct location, on), NULL },
	{ ngx_string("gate_control"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, take_control, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },
	ngx_null_command,
};

static ngx_http_module_t context = {
	.postconfiguration = put_in_place,
	.create_main_conf = make_main,
	.create_loc_conf = make_location,
	.merge_loc_conf = merge_location,
};

ngx_module_t ngx_http_gate_module = {
	NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE, NULL, NULL, on_worker, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING,
};

/* What nginx looks for in a file with modules. */
ngx_module_t *ngx_modules[] = { &ngx_http_gate_module, NULL };
char *ngx_module_names[] = { "ngx_http_gate_module", NULL };
char *ngx_module_order[] = { NULL };
