/* Memory for code within reach of a jump. Given out for ever; mapped readable and executable, filled by eb_text_write. */
#pragma once

#include <stddef.h>

/* NULL when there is no room within reach of `near`. */
unsigned char *eb_arena_take(const void *near, size_t size);
