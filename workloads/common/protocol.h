/*
 * The line protocol between the harness and our programs: commands come in on stdin, one a line; each is answered by
 * one line on stdout, a word and mostly a JSON object. See workloads/README.md.
 */
#pragma once

#include "json.h"

enum {
	EXIT_OPTIONS = 2, /* the command line was wrong */
	EXIT_ERROR = 3,	  /* an ERROR line has been printed */
};

/* Makes an answer reach the harness as one write; to be called first. */
void protocol_start(void);

/* Opens the answer `word {`; further fields are written with json_…, then comes reply_end. */
struct json reply_begin(const char *word);
void reply_end(struct json *reply);

/* Answers with fixed text. */
void reply_text(const char *text);

/* Prints `ERROR {"stage", "message"}` and exits: for a wrong command line, and for a command that nobody knows. */
_Noreturn void fail_options(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail_command(const char *line);

/* The next command without its newline, or NULL at the end of input, which means the same as `quit`. */
const char *next_command(void);

/* Whether `line` is `word` followed by exactly `n` unsigned decimal numbers, which are put into `numbers`. */
int command_is(const char *line, const char *word, unsigned n, uint64_t *numbers);
/* A decimal number that fills the whole text, or fail_options naming the option. */
uint64_t number_option(const char *option, const char *text);
