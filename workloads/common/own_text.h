/* The code of this process as it stands in its file, untouched by whoever has patched it in memory. */
#pragma once

#define FIRST_BYTES 16

/* Copies the first FIRST_BYTES bytes of a function of the main program into `bytes`; 0 if they cannot be read. */
int own_text(const void *function, unsigned char *bytes);
