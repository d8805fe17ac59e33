/* SIGTRAP, which threads get when they run into a patch that is being made; and signals that interrupt handlers. */
#pragma once

#include "hook/internal.h"

/* Makes threads that run into the breakpoints of known patches go on in their copies. 0 or -1 with the reason. */
int eb_signals_prepare(char *error, size_t size);

/* `here` is on the alternate stack of a signal's handler and the frame `guard` is not. */
int eb_on_signal_stack(uint64_t here, uint64_t guard);

/* Between `here` and the frame `guard` of this thread, a signal has been delivered. */
int eb_in_signal(uint64_t here, uint64_t guard);
