/* Offsets that path.S shares with C; internal.h asserts them. */
#pragma once

#define REGS_R15 0
#define REGS_R14 8
#define REGS_R13 16
#define REGS_R12 24
#define REGS_BP 32
#define REGS_BX 40
#define REGS_R11 48
#define REGS_R10 56
#define REGS_R9 64
#define REGS_R8 72
#define REGS_AX 80
#define REGS_CX 88
#define REGS_DX 96
#define REGS_SI 104
#define REGS_DI 112
#define REGS_ORIG_AX 120
#define REGS_IP 128
#define REGS_CS 136
#define REGS_FLAGS 144
#define REGS_SP 152
#define REGS_SS 160
#define REGS_SIZE 168

#define USER_CS 0x33
#define USER_SS 0x2b
#define FLAGS_ALWAYS 0x200 /* interrupts are on; lahf gives bit 1, which is always set, too */

/* What may lie below the stack pointer of a function that calls nothing (System V ABI). */
#define RED_ZONE 128

#define PROBE_SIZE (REGS_SIZE + RED_ZONE)

#define SITE_ENTRY 0
#define SITE_RET 8
#define SITE_ADDRESS 16
#define SITE_RESUME 24
#define SITE_BODY 32
#define SITE_PATH 40

#define CALL_HANDLER 0
#define CALL_USER 8
#define CALL_SIZE 16

#define THREAD_GUARD 0
#define GUARD_FREE 1
#define GUARD_SUSPENDED 2

/* Shadow of the stacks: see shadow.h. */
#define SHADOW_SHIFT 26
#define SHADOW_MASK 0x3ffffff
#define SHADOW_CHUNKS 0x200000
#define SHADOW_RA 0
#define SHADOW_WHAT 8
#define SHADOW_CHAIN 1

#define GATE_NEXT 0
#define GATE_RAW 8
#define GATE_ADDRESS 16
#define GATE_PATH 24

#define SYSCALLS_ENTER 0
#define SYSCALLS_EXIT 8
#define SYSCALLS_USER 16
