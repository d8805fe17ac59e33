/*
 * From eBPF programs to code that can be called.
 *
 * A program goes through the same checks for every engine, is resolved against an environment (addresses of helpers and maps)
 * and becomes a struct eb_code. Engines agree on every result: tests/ and fuzz/ compare them with each other and with the kernel.
 * Neither generated code nor the interpreter touches SSE or x87 state, on condition that helpers do not.
 */
#ifndef EB_ENGINE_H
#define EB_ENGINE_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#define EB_TAIL_CALLS 33  /* a chain of tail calls is cut there, as in the kernel */
#define EB_STACK 512	  /* bytes of stack of one frame */
#define EB_FRAMES 8	  /* deepest nesting of calls between a program's functions */
#define EB_MOST 1000000u  /* instructions of a program */

enum eb_engine { EB_JIT, EB_INTERPRETER, EB_LLVM };

struct eb_program {
	const struct bpf_insn *insns; /* relocated by libbpf: calls and references to functions are relative */
	uint32_t count;
	const char *name;
};

typedef uint64_t eb_helper(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5);

/* Where an array's values lie, so that looking one up needs no call. */
struct eb_array {
	uint64_t values;     /* address of the value of index 0 (on CPU 0) */
	uint64_t stride;     /* bytes from one value to the next */
	uint32_t entries;    /* lookups at or past it give NULL */
	uint32_t cpus;	     /* 0: one value an index; else values per CPU … */
	uint64_t cpu_stride; /* … this many bytes apart … */
	int64_t cpu_tls;     /* … and the CPU's number is the u32 at this offset from the thread pointer; not below cpus: helper is called */
};

enum eb_inline_kind {
	EB_INLINE_NONE,
	EB_INLINE_CONSTANT, /* the helper always returns value */
	EB_INLINE_LOAD,	    /* the u64 at the address value */
	EB_INLINE_TLS,	    /* the u64 at the offset value from the thread pointer; 0 there: call the helper */
};

/* A helper without arguments or effects that need not be called. */
struct eb_inline {
	enum eb_inline_kind kind;
	uint64_t value;
};

struct eb_code;

#define EB_OPTION_NO_BMI2 1u  /* generate for a processor without BMI2 */
#define EB_OPTION_NO_INLINE 2u /* call helpers even where a hint says that it is not needed */
#define EB_OPTION_FAR 4u      /* call helpers as if they were out of reach of a near call */

/*
 * What a program may refer to. All functions are given `user`. Any may be NULL, then nothing of its kind is known. `user`
 * and the tail_call function must outlive the code; the rest is needed only while compiling.
 */
struct eb_environment {
	void *user;
	/* The helper of that number, NULL: there is none. map: what r1 will hold at this call if that is a known map, else 0. */
	eb_helper *(*helper)(void *user, uint32_t id, uint64_t map);
	/* Its name, for messages; may return NULL. */
	const char *(*helper_name)(void *user, uint32_t id);
	/*
	 * The value of a 64-bit load (load[0], load[1]) whose src_reg is BPF_PSEUDO_MAP_FD, _MAP_IDX, _MAP_VALUE, _MAP_IDX_VALUE
	 * or _BTF_ID; 0, or a negative number if there is none. BPF_PSEUDO_FUNC is resolved by the engine.
	 */
	int (*resolve)(void *user, const struct bpf_insn *load, uint64_t *value);
	/* Fills *array and returns 1 if lookups in that map may be inlined, else 0. */
	int (*array)(void *user, uint64_t map, struct eb_array *array);
	/* Fills *hint and returns 1 if that helper may be inlined, else 0. */
	int (*inlined)(void *user, uint32_t id, struct eb_inline *hint);
	/* The program in that slot of a prog array, made by the same engine, or NULL. Called at every tail call, from generated code. */
	const struct eb_code *(*tail_call)(void *user, uint64_t map, uint32_t index);
	uint32_t options;
};

struct eb_code {
	uint64_t (*run)(void *ctx, const struct eb_code *code); /* eb_run() says it shorter */
	enum eb_engine engine;
	const void *tail_entry; /* where a tail call enters; for the engine that made it only */
	const void *text;	/* generated code, NULL if there is none … */
	size_t text_size;	/* … and its size in bytes */
	void *own;		/* the engine's */
};

/*
 * Makes code of a program. Returns 0, or a negative errno with a text in `error` that names the instruction and what is
 * wrong with it or not supported. The code may be run by any number of threads at once.
 */
int eb_compile(enum eb_engine engine, const struct eb_program *program, const struct eb_environment *environment,
	       struct eb_code *code, char *error, size_t size);

/* Frees what eb_compile() made. Nobody may be running it. A struct of zeroes is left alone. */
void eb_free(struct eb_code *code);

/* "jit", "interpreter", "llvm"; NULL for another number. */
const char *eb_engine_name(enum eb_engine engine);

/* The engine of that name; negative if there is none. */
int eb_engine_of(const char *name);

/* Whether this process has the engine (LLVM is optional). */
int eb_engine_available(enum eb_engine engine);

/* Brings in an engine that is a library of its own (llvm.so). 0, or a negative errno with the reason in `error`. */
int eb_engine_load(const char *path, char *error, size_t size);

static inline uint64_t eb_run(const struct eb_code *code, void *ctx)
{
	return code->run(ctx, code);
}

#endif
