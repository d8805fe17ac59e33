/* Functions whose return cannot be hooked. */
#pragma once

/* Why the function at `address` is one, or NULL. */
const char *eb_twice(const void *address);
