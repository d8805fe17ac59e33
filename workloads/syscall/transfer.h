/* What victim and programs of the syscall experiment both know. */
#pragma once

/* Bytes that a timed read or write moves: no line of the protocol is that short. */
#define TRANSFER 4
