#include "hook/backend.h"
#include "hook/thread.h"
#include "common/common.h"

#include <errno.h>
#include <string.h>

/* As gum has the registers. */
struct cpu {
	uint64_t rip, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rsp, rbx, rdx, rcx, rax;
};

static void on_enter(struct eb_site *site, struct cpu *cpu);
static void on_leave(struct eb_site *site, struct cpu *cpu);

/* Found by name and filled in by gum.js, which knows its layout. */
struct bridge {
	uint32_t ready;
	int (*attach)(void *address, struct eb_site *site, int wants);
	void (*detach)(struct eb_site *site);
	void (*enter)(struct eb_site *site, struct cpu *cpu), (*leave)(struct eb_site *site, struct cpu *cpu);
	char error[256];
};
extern struct bridge eb_gum_bridge;
EB_EXPORT struct bridge eb_gum_bridge = { .enter = on_enter, .leave = on_leave };

static int gum;

static void from_cpu(struct eb_regs *regs, const struct cpu *cpu)
{
	*regs = (struct eb_regs){
		cpu->r15, cpu->r14, cpu->r13, cpu->r12, cpu->rbp, cpu->rbx, cpu->r11, cpu->r10, cpu->r9, cpu->r8,
		cpu->rax, cpu->rcx, cpu->rdx, cpu->rsi, cpu->rdi, -1ul, cpu->rip, USER_CS, FLAGS_ALWAYS | 2,
		/* so that the guard's owner looks alive to others; gum's callers do not lie next to it */
		(unsigned long)regs + REGS_SIZE + 8, USER_SS,
	};
}

static void to_cpu(struct cpu *cpu, const struct eb_regs *regs)
{
	cpu->r15 = regs->r15, cpu->r14 = regs->r14, cpu->r13 = regs->r13, cpu->r12 = regs->r12;
	cpu->rbp = regs->bp, cpu->rbx = regs->bx, cpu->r11 = regs->r11, cpu->r10 = regs->r10;
	cpu->r9 = regs->r9, cpu->r8 = regs->r8, cpu->rax = regs->ax, cpu->rcx = regs->cx;
	cpu->rdx = regs->dx, cpu->rsi = regs->si, cpu->rdi = regs->di;
}

static void hit(struct eb_call **list, struct cpu *cpu, uint64_t ip)
{
	struct {
		struct eb_regs guard, regs;
	} frame;
	struct eb_thread *self = eb_thread_here();
	uint64_t before = self ? self->guard : 0;

	from_cpu(&frame.guard, cpu);
	if (!self || (before != GUARD_FREE && !(before = eb_nested(self, &frame.guard))))
		return;
	eb_poke(&self->guard, (uint64_t)&frame.guard);
	frame.regs = frame.guard;
	frame.regs.sp = cpu->rsp;
	frame.regs.ip = ip;
	for (struct eb_call *call = eb_load(list); call->handler; call++)
		call->handler(&frame.regs, call->user);
	to_cpu(cpu, &frame.regs);
	eb_poke(&self->guard, before);
}

static void on_enter(struct eb_site *site, struct cpu *cpu)
{
	hit(&site->entry, cpu, (uint64_t)site->address);
}

static void on_leave(struct eb_site *site, struct cpu *cpu)
{
	hit(&site->ret, cpu, cpu->rip);
}

int eb_hook_select(const char *backend, char *error, size_t size)
{
	/* The first time, a process of several threads waits a grace period of the kernel's for it: we may have but one now. */
	eb_synchronise();
	if (!strcmp(backend, "trampoline")) {
		gum = 0;
		return 0;
	}
	if (strcmp(backend, "gum"))
		return eb_refuse(error, size, "no backend is called %s: trampoline and gum are", backend), -EINVAL;
	if (!eb_load(&eb_gum_bridge.ready)) {
		int failed = eb_gum_bring(error, size);

		if (failed)
			return failed;
	}
	if (!eb_load(&eb_gum_bridge.ready))
		return eb_refuse(error, size, "gum is in the process, but its script has not begun"), -EPROTO;
	gum = 1;
	return 0;
}

const char *eb_hook_backend_name(void)
{
	return gum ? "gum" : "trampoline";
}

int eb_backend_is_gum(void)
{
	return gum;
}

int eb_gum_attach(struct eb_site *site, int wants, char *error, size_t size)
{
	if (!eb_gum_bridge.attach(site->address, site, wants))
		return 0;
	return eb_refuse(error, size, "gum: %.*s", (int)sizeof(eb_gum_bridge.error) - 1, eb_gum_bridge.error);
}

void eb_gum_detach(struct eb_site *site)
{
	eb_gum_bridge.detach(site);
}
