/* SIGTRAP, which threads get when they run into a patch that is being made; and signals that interrupt handlers. */
#pragma once

#include "hook/internal.h"

/* Makes threads that run into the breakpoints of known patches go on in their copies. 0 or -1 with the reason. */
int eb_signals_prepare(char *error, size_t size);

/*
 * Whether a signal has been delivered between the frame `guard` of this thread and `here`: 1: while that frame was there;
 * -1: when it had been left already; 0: none.
 */
int eb_signal_between(uint64_t here, uint64_t guard);
