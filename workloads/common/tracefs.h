/* Where the kernel tells the numbers of its tracepoints. */
#pragma once

/* Mounts tracefs where it is missing. For a process whose mounts are its own; if it cannot be done, libbpf says what is missing. */
void tracefs_mount(void);
