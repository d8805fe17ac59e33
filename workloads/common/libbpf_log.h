/* Keeps libbpf's warnings, so that an ERROR line can carry them; they go to stderr as well. */
#pragma once

void libbpf_log_start(void);
/* All warnings so far, the oldest first, cut off when there are very many; "" if there are none. */
const char *libbpf_warnings(void);
