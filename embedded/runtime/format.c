/* bpf_trace_printk and its kin: formatting without libc, whose functions use vector registers. */
#include "common/common.h"
#include "runtime/fault.h"
#include "runtime/helpers.h"
#include "runtime/thread.h"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct text {
	char *at;
	size_t size; /* with the final 0 */
	size_t used; /* by the whole text, also what did not fit */
};

static void put(struct text *text, char c)
{
	if (text->used + 1 < text->size)
		text->at[text->used] = c;
	text->used++;
}

static void put_text(struct text *text, const char *from)
{
	while (*from)
		put(text, *from++);
}

struct field {
	uint32_t width;
	int zeroes, left, alternate, length; /* length: 0 int, 1 long, -1 short, -2 char */
	char kind;
};

static void put_padded(struct text *text, const struct field *field, const char *digits, uint32_t n, int negative)
{
	uint32_t total = n + (uint32_t)negative;

	if (negative && field->zeroes)
		put(text, '-');
	for (uint32_t i = total; !field->left && i < field->width; i++)
		put(text, field->zeroes ? '0' : ' ');
	if (negative && !field->zeroes)
		put(text, '-');
	for (uint32_t i = 0; i < n; i++)
		put(text, digits[i]);
	for (uint32_t i = total; field->left && i < field->width; i++)
		put(text, ' ');
}

static void put_number(struct text *text, const struct field *field, uint64_t value)
{
	uint32_t base = field->kind == 'd' || field->kind == 'i' || field->kind == 'u' ? 10 : field->kind == 'o' ? 8 : 16;
	const char *digits = field->kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	int negative = (field->kind == 'd' || field->kind == 'i') && (int64_t)value < 0;
	char buffer[32];
	uint32_t at = sizeof(buffer);

	if (negative)
		value = -value;
	do
		buffer[--at] = digits[value % base];
	while (value /= base);
	if (field->alternate && base == 16) {
		buffer[--at] = field->kind == 'X' ? 'X' : 'x';
		buffer[--at] = '0';
	}
	put_padded(text, field, buffer + at, (uint32_t)sizeof(buffer) - at, negative);
}

static void put_string(struct text *text, const struct field *field, uint64_t address)
{
	char buffer[512];
	long n = eb_fetch_string(buffer, (const char *)address, sizeof(buffer));

	if (n < 0)
		put_text(text, "(efault)");
	else
		put_padded(text, field, buffer, (uint32_t)n - 1, 0);
}

static uint64_t cut(uint64_t value, const struct field *field)
{
	int is_signed = field->kind == 'd' || field->kind == 'i';

	switch (field->length) {
	case 1:
		return value;
	case 0:
		return is_signed ? (uint64_t)(int64_t)(int32_t)value : (uint32_t)value;
	case -1:
		return is_signed ? (uint64_t)(int64_t)(int16_t)value : (uint16_t)value;
	default:
		return is_signed ? (uint64_t)(int64_t)(int8_t)value : (uint8_t)value;
	}
}

/* Reads what stands between % and the kind; returns where the kind stands. */
static const char *read_field(const char *at, struct field *field)
{
	*field = (struct field){ 0 };
	for (;; at++) {
		if (*at == '0')
			field->zeroes = 1;
		else if (*at == '-')
			field->left = 1;
		else if (*at == '#')
			field->alternate = 1;
		else if (*at != '+' && *at != ' ')
			break;
	}
	for (; *at >= '0' && *at <= '9' && field->width < 1000; at++)
		field->width = field->width * 10 + (uint32_t)(*at - '0');
	for (; *at == 'l' || *at == 'z'; at++)
		field->length = 1;
	for (; *at == 'h'; at++)
		field->length--;
	field->kind = *at;
	return at;
}

/* A pointer, or a string at one (%pks, %pus). Returns where the format goes on. */
static const char *put_pointer(struct text *text, struct field *field, const char *at, uint64_t value)
{
	if ((at[1] == 'k' || at[1] == 'u') && at[2] == 's') {
		put_string(text, field, value);
		return at + 2;
	}
	field->kind = 'x';
	field->width = 16;
	field->zeroes = 1;
	put_number(text, field, value);
	return at[1] == 'x' || at[1] == 'K' || at[1] == 'B' || at[1] == 'S' || at[1] == 's' ? at + 1 : at;
}

static int put_field(struct text *text, const char **format, uint64_t value)
{
	struct field field;
	const char *at = read_field(*format, &field);

	*format = at;
	switch (field.kind) {
	case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
		put_number(text, &field, cut(value, &field));
		return 0;
	case 'c':
		put_padded(text, &field, (const char[]){ (char)value }, 1, 0);
		return 0;
	case 's':
		put_string(text, &field, value);
		return 0;
	case 'p':
		*format = put_pointer(text, &field, at, value);
		return 0;
	default:
		return -EINVAL;
	}
}

long eb_format(char *to, size_t size, const char *format, const uint64_t *arguments, uint32_t n)
{
	struct text text = { to, size, 0 };
	uint32_t used = 0;

	for (const char *at = format; *at; at++) {
		if (*at != '%') {
			put(&text, *at);
		} else if (at[1] == '%') {
			put(&text, *++at);
		} else {
			at++;
			if (used >= n || put_field(&text, &at, arguments[used++]))
				return -EINVAL;
		}
	}
	if (size)
		to[text.used < size ? text.used : size - 1] = '\0';
	return (long)text.used;
}

/* One line on stderr, as the kernel's trace_pipe has it: name-tid [cpu] seconds: bpf_trace_printk: text */
static long print(const char *format, uint32_t size, const uint64_t *arguments, uint32_t n)
{
	char copy[256], line[1024], name[16] = { 0 };
	struct timespec time;
	int kept = errno;
	long length, start;

	if (!size || size > sizeof(copy))
		return -EINVAL;
	eb_copy(copy, format, size);
	copy[size - 1] = '\0';
	prctl(PR_GET_NAME, name);
	clock_gettime(CLOCK_MONOTONIC, &time);
	start = eb_format(line, sizeof(line), "%s-%d [%03d] %lu.%06lu: bpf_trace_printk: ",
			  (const uint64_t[]){ (uint64_t)name, (uint64_t)gettid(), eb_cpu(), (uint64_t)time.tv_sec,
					      (uint64_t)time.tv_nsec / 1000 }, 5);
	length = eb_format(line + start, sizeof(line) - (size_t)start - 1, copy, arguments, n);
	if (length < 0)
		return length;
	length += start;
	if (length > (long)sizeof(line) - 2)
		length = (long)sizeof(line) - 2;
	if (line[length - 1] != '\n')
		line[length++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)length) < 0)
		errno = kept;
	errno = kept;
	return length - start;
}

EB_HELPER(eb_trace_printk)
{
	const uint64_t arguments[] = { r3, r4, r5 };

	return (uint64_t)print((const char *)r1, (uint32_t)r2, arguments, 3);
}

EB_HELPER(eb_trace_vprintk)
{
	EB_UNUSED;
	return (uint64_t)print((const char *)r1, (uint32_t)r2, (const uint64_t *)r3, (uint32_t)r4 / 8);
}

EB_HELPER(eb_snprintf)
{
	long length = eb_format((char *)r1, (uint32_t)r2, (const char *)r3, (const uint64_t *)r4, (uint32_t)r5 / 8);

	return (uint64_t)(length < 0 ? length : length + 1);
}

/* --- strings to numbers: bpf_strtol(text, size, flags = base, *result) --- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static long parse(const char *text, size_t size, uint64_t base, uint64_t *result, int *negative)
{
	size_t at = 0, first;

	*result = 0;
	while (at < size && (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r')))
		at++;
	*negative = at < size && text[at] == '-';
	at += (size_t)*negative;
	if ((base == 0 || base == 16) && at + 2 < size && text[at] == '0' && (text[at + 1] | 0x20) == 'x') {
		base = 16;
		at += 2;
	} else if (base == 0) {
		base = at < size && text[at] == '0' ? 8 : 10;
	}
	if (base != 8 && base != 10 && base != 16)
		return -EINVAL;
	for (first = at; at < size && (uint64_t)digit(text[at]) < base; at++)
		if (__builtin_mul_overflow(*result, base, result) ||
		    __builtin_add_overflow(*result, (uint64_t)digit(text[at]), result))
			return -ERANGE;
	return at == first ? -EINVAL : (long)at;
}

EB_HELPER(eb_strtol)
{
	uint64_t value;
	int negative;
	long n = parse((const char *)r1, r2, r3, &value, &negative);

	EB_UNUSED;
	if (n > 0 && value > (uint64_t)INT64_MAX + (uint64_t)negative)
		n = -ERANGE;
	if (n > 0)
		*(int64_t *)r4 = (int64_t)(negative ? -value : value);
	return (uint64_t)n;
}

EB_HELPER(eb_strtoul)
{
	uint64_t value;
	int negative;
	long n = parse((const char *)r1, r2, r3, &value, &negative);

	EB_UNUSED;
	if (n > 0 && negative)
		n = -EINVAL;
	if (n > 0)
		*(uint64_t *)r4 = value;
	return (uint64_t)n;
}

EB_HELPER(eb_strncmp)
{
	const unsigned char *a = (const unsigned char *)r1, *b = (const unsigned char *)r3;

	EB_UNUSED;
	for (uint32_t i = 0; i < (uint32_t)r2; i++) {
		if (a[i] != b[i])
			return (uint64_t)(int64_t)(a[i] < b[i] ? -1 : 1);
		if (!a[i])
			break;
	}
	return 0;
}
