#include "dpdk_program.h"

#include <errno.h>
#include <rte_bpf.h>
#include <rte_log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf_impl.h>

#define MOST_SYMBOLS 64
#define MOST_INSTRUCTIONS 65536
#define NO_FUNCTION 0x7fffffff /* the number of a function that is not there */

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct ebpf_insn), "both are the instruction as it is encoded");

int dpdk_let_loops_through;
static int overruled;

struct symbols {
	struct rte_bpf_xsym all[MOST_SYMBOLS];
	uint32_t count;
};

static char why[200];
static char log_text[4096];
static FILE *log_file;

/* --- what the library says ------------------------------------------------------------------------------------ */

static const char *listen(void)
{
	if (!log_file)
		log_file = fmemopen(log_text, sizeof(log_text), "w");
	if (!log_file || rte_openlog_stream(log_file))
		return "the library's log cannot be read";
	rewind(log_file);
	memset(log_text, 0, sizeof(log_text));
	return NULL;
}

/* Its first line, without addresses of this process: "check(0x7ffe…) loops detected;" is "check loops detected". */
static const char *said(const char *otherwise)
{
	const char *from = log_text;
	size_t length = 0;

	fflush(log_file);
	for (; *from && *from != '\n' && length < sizeof(why) - 1; from++) {
		if (*from == '(' && from[1] == '0' && strchr(from, ')'))
			from = strchr(from, ')');
		else if (*from != ';')
			why[length++] = *from;
	}
	why[length] = '\0';
	return length ? why : otherwise;
}

/* --- the validator's verdict ----------------------------------------------------------------------------------- */

int __real_bpf_validate(struct rte_bpf *bpf);
int __wrap_bpf_validate(struct rte_bpf *bpf);

/* Every call in the library comes here (ld --wrap). It looks for loops only when every single instruction is valid. */
int __wrap_bpf_validate(struct rte_bpf *bpf)
{
	int result = __real_bpf_validate(bpf);

	fflush(log_file);
	if (!result || !dpdk_let_loops_through || !strstr(log_text, "loops detected"))
		return result;
	bpf->stack_sz = MAX_BPF_STACK_SIZE;
	overruled = 1;
	return 0;
}

/* --- maps ------------------------------------------------------------------------------------------------------- */

static uint64_t lookup(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct dpdk_map *map = (const struct dpdk_map *)r1;
	uint32_t key = *(const uint32_t *)r2;

	(void)r3, (void)r4, (void)r5;
	return key < map->entries ? (uint64_t)(map->values + (size_t)key * map->value_size) : 0;
}

static uint64_t update(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct dpdk_map *map = (const struct dpdk_map *)r1;
	uint32_t key = *(const uint32_t *)r2;

	(void)r5;
	if (r4 > BPF_EXIST)
		return (uint64_t)-EINVAL;
	if (key >= map->entries)
		return (uint64_t)-E2BIG;
	if (r4 == BPF_NOEXIST)
		return (uint64_t)-EEXIST;
	memmove(map->values + (size_t)key * map->value_size, (const void *)r3, map->value_size);
	return 0;
}

static struct rte_bpf_arg pointer(size_t size)
{
	return (struct rte_bpf_arg){ .type = RTE_BPF_ARG_PTR, .size = size };
}

static struct rte_bpf_arg scalar(void)
{
	return (struct rte_bpf_arg){ .type = RTE_BPF_ARG_RAW, .size = sizeof(uint64_t) };
}

/* What a helper is for one map: its result and its third argument are as large as that map's values. */
static struct rte_bpf_xsym function_of(uint32_t helper, const struct dpdk_map *map)
{
	struct rte_bpf_xsym symbol = { .name = "lookup", .type = RTE_BPF_XTYPE_FUNC };

	symbol.func.val = lookup;
	symbol.func.nb_args = 2;
	symbol.func.args[0] = pointer(sizeof(*map));
	symbol.func.args[1] = pointer(sizeof(uint32_t));
	symbol.func.ret = pointer(map->value_size);
	if (helper == BPF_FUNC_map_lookup_elem)
		return symbol;
	symbol.name = "update";
	symbol.func.val = update;
	symbol.func.nb_args = 4;
	symbol.func.args[2] = pointer(map->value_size);
	symbol.func.args[3] = scalar();
	symbol.func.ret = scalar();
	return symbol;
}

/* Returns the symbol's number; the same symbol has the same. */
static int32_t add(struct symbols *symbols, struct rte_bpf_xsym symbol)
{
	for (uint32_t i = 0; i < symbols->count; i++)
		if (!memcmp(&symbols->all[i], &symbol, sizeof(symbol)))
			return (int32_t)i;
	if (symbols->count == MOST_SYMBOLS)
		return NO_FUNCTION;
	symbols->all[symbols->count] = symbol;
	return (int32_t)symbols->count++;
}

static const char *resolve_load(struct ebpf_insn *load, struct dpdk_maps maps, struct symbols *symbols)
{
	const struct dpdk_map *map = (uint32_t)load->imm < maps.count ? &maps.maps[load->imm] : NULL;
	struct rte_bpf_xsym symbol = { .name = "map", .type = RTE_BPF_XTYPE_VAR };
	uint32_t offset = (uint32_t)load[1].imm;
	uint64_t address = (uint64_t)map;

	if (!map || (load->src_reg == BPF_PSEUDO_MAP_VALUE && offset >= map->value_size))
		return "the program refers to a map that is not here";
	symbol.var.desc = pointer(sizeof(*map));
	if (load->src_reg == BPF_PSEUDO_MAP_VALUE) {
		address = (uint64_t)(map->values + offset);
		symbol.var.desc = pointer(map->value_size - offset);
	}
	symbol.var.val = (void *)address;
	if (add(symbols, symbol) == NO_FUNCTION)
		return "the program refers to too many places";
	load->src_reg = 0;
	load[0].imm = (int32_t)address;
	load[1].imm = (int32_t)(address >> 32);
	return NULL;
}

/* Compilers load the map right before the call: it is the last that r1 was given in a 64-bit load. */
static const struct dpdk_map *map_of_call(const struct bpf_insn *insns, uint32_t at, struct dpdk_maps maps)
{
	for (uint32_t i = at; i-- > 0;)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && insns[i].dst_reg == BPF_REG_1 &&
		    insns[i].src_reg == BPF_PSEUDO_MAP_FD)
			return (uint32_t)insns[i].imm < maps.count ? &maps.maps[insns[i].imm] : NULL;
	return NULL;
}

static const char *translate(struct ebpf_insn *to, const struct bpf_insn *insns, uint32_t count, struct dpdk_maps maps,
			     struct symbols *symbols)
{
	const char *wrong = NULL;

	memcpy(to, insns, count * sizeof(*to));
	for (uint32_t i = 0; i < count && !wrong; i++) {
		uint32_t helper = (uint32_t)insns[i].imm;

		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
			if (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE)
				wrong = resolve_load(&to[i], maps, symbols);
			i++;
		} else if (insns[i].code == (BPF_JMP | BPF_CALL) && !insns[i].src_reg) {
			const struct dpdk_map *map = map_of_call(insns, i, maps);
			int known = helper == BPF_FUNC_map_lookup_elem || helper == BPF_FUNC_map_update_elem;

			to[i].imm = map && known ? add(symbols, function_of(helper, map)) : NO_FUNCTION;
		}
	}
	return wrong;
}

/* --- the program ------------------------------------------------------------------------------------------------ */

const char *dpdk_load(const struct bpf_insn *insns, uint32_t count, struct dpdk_maps maps, struct dpdk_code *code)
{
	static struct ebpf_insn translated[MOST_INSTRUCTIONS];
	struct symbols symbols = { .count = 0 };
	struct rte_bpf_prm parameters = { .ins = translated, .nb_ins = count, .xsym = symbols.all };
	struct rte_bpf_jit jit = { 0 };
	const char *wrong = count > MOST_INSTRUCTIONS ? "the program is too long" : listen();

	*code = (struct dpdk_code){ 0 };
	wrong = wrong ? wrong : translate(translated, insns, count, maps, &symbols);
	if (wrong)
		return wrong;
	parameters.nb_xsym = symbols.count;
	parameters.prog_arg = pointer(sizeof(uint64_t));
	overruled = 0;
	code->bpf = rte_bpf_load(&parameters);
	if (!code->bpf)
		return said("refused without a word");
	rte_bpf_get_jit(code->bpf, &jit);
	code->jit = jit.func;
	code->size = jit.func ? jit.sz : 0;
	code->objection = overruled ? said(NULL) : NULL;
	return NULL;
}

uint64_t dpdk_interpret(const struct dpdk_code *code, void *context)
{
	return rte_bpf_exec(code->bpf, context);
}

void dpdk_free(struct dpdk_code *code)
{
	rte_bpf_destroy(code->bpf);
	*code = (struct dpdk_code){ 0 };
}
