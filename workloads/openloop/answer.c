#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void answer_begin(struct answer *answer)
{
	answer->used = 0;
	answer->in_body = 0;
	answer->left = 0;
}

static int length_said(const char *header, uint64_t *length)
{
	static const char field[] = "\r\nContent-Length: ";
	const char *found = strcasestr(header, field);
	char *end;

	if (!found)
		return 0;
	*length = strtoull(found + sizeof(field) - 1, &end, 10);
	return !strncmp(end, "\r\n", 2);
}

static enum answer_state take_body(struct answer *answer, size_t size)
{
	if (size > answer->left)
		return ANSWER_UNREADABLE;
	answer->left -= size;
	return answer->left ? ANSWER_GOES_ON : ANSWER_DONE;
}

enum answer_state answer_take(struct answer *answer, const char *data, size_t size, uint64_t body)
{
	size_t room = MOST_HEADER - answer->used, taken = size < room ? size : room, old = answer->used;
	char *end;

	if (answer->in_body)
		return take_body(answer, size);
	memcpy(answer->header + old, data, taken);
	answer->used += taken;
	answer->header[answer->used] = '\0';
	end = strstr(answer->header, "\r\n\r\n");
	if (!end)
		return taken < size || strlen(answer->header) < answer->used ? ANSWER_UNREADABLE : ANSWER_GOES_ON;
	end[2] = '\0';
	if (strncmp(answer->header, "HTTP/1.1 ", 9))
		return ANSWER_UNREADABLE;
	if (strncmp(answer->header + 9, "200 ", 4))
		return ANSWER_STATUS;
	if (!length_said(answer->header, &answer->left) || answer->left != body)
		return ANSWER_UNREADABLE;
	answer->in_body = 1;
	return take_body(answer, size - ((size_t)(end + 4 - answer->header) - old));
}
