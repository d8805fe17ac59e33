/* The contexts of the tracepoints syscalls/sys_enter_NAME and sys_exit_NAME, as their format files say. Include bpf_core.h first. */
#pragma once

struct entered {
	__u64 common;
	__s32 number, unused;
	__u64 arguments[6];
};

struct left {
	__u64 common;
	__s32 number, unused;
	__s64 result;
};
