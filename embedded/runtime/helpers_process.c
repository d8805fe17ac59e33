/* Helpers that are about the process and its thread. They go past libc, whose functions may be what is probed. */
#include "common/common.h"
#include "hook/raw.h"
#include "runtime/fault.h"
#include "runtime/helpers.h"
#include "runtime/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

EB_HELPER(eb_get_current_pid_tgid)
{
	EB_UNUSED;
	if (eb_unlikely(!eb_thread.pid_tgid))
		eb_thread.pid_tgid = (uint64_t)raw(SYS_getpid) << 32 | (uint32_t)raw(SYS_gettid);
	return eb_thread.pid_tgid;
}

EB_HELPER(eb_get_current_uid_gid)
{
	EB_UNUSED;
	return (uint64_t)raw(SYS_getgid) << 32 | (uint32_t)raw(SYS_getuid);
}

EB_HELPER(eb_get_current_comm)
{
	char name[16] = { 0 };

	EB_UNUSED;
	raw(SYS_prctl, PR_GET_NAME, name);
	if (!r2)
		return (uint64_t)-EINVAL;
	eb_zero((void *)r1, r2);
	eb_copy((void *)r1, name, r2 < sizeof(name) ? r2 : sizeof(name));
	((char *)r1)[r2 - 1] = '\0';
	return 0;
}

EB_HELPER(eb_get_numa_node_id)
{
	uint32_t node = 0;

	EB_UNUSED;
	raw(SYS_getcpu, 0, &node, 0);
	return node;
}

/* --- the cgroup: its number is the inode of its directory in the tree of version 2 --- */

#define OWN_CGROUP "/proc/self/cgroup"
#define PATH 1024

/* "0::/a/b" of the lines of that file, its path put behind `root`. 0: there is none, or it is too long. */
static int find_path(const char *text, const char *root, char *path)
{
	size_t n = 0;

	while (text[0] && (text[0] != '0' || text[1] != ':' || text[2] != ':')) {
		while (*text && *text != '\n')
			text++;
		text += *text == '\n';
	}
	if (!*text)
		return 0;
	for (; *root && n < PATH; root++)
		path[n++] = *root;
	for (text += 3; *text && *text != '\n' && n < PATH; text++)
		path[n++] = *text;
	if (n == PATH)
		return 0;
	path[n] = '\0';
	return 1;
}

EB_HELPER(eb_get_current_cgroup_id)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	long file = raw(SYS_open, OWN_CGROUP, O_RDONLY | O_CLOEXEC), length;
	char text[PATH], path[PATH];
	struct stat status;

	EB_UNUSED;
	if (file < 0)
		return 0;
	length = raw(SYS_read, file, text, sizeof(text) - 1);
	raw(SYS_close, file);
	text[length > 0 ? length : 0] = '\0';
	for (size_t i = 0; i < EB_COUNT(roots); i++)
		if (find_path(text, roots[i], path) && !raw(SYS_stat, path, &status))
			return status.st_ino;
	return 0;
}

/* --- pid namespaces and signals --- */

struct bpf_pidns {
	uint32_t pid, tgid;
};

static void look_at_namespace(void *status)
{
	int kept = errno;

	if (stat("/proc/self/ns/pid", status))
		((struct stat *)status)->st_ino = 0;
	errno = kept;
}

EB_HELPER(eb_get_ns_current_pid_tgid)
{
	struct bpf_pidns *info = (struct bpf_pidns *)r3;
	struct stat status;

	EB_UNUSED;
	if (r4 != sizeof(*info))
		return (uint64_t)-EINVAL;
	eb_with_state_saved(look_at_namespace, &status);
	if (status.st_dev != r1 || status.st_ino != r2) {
		*info = (struct bpf_pidns){ 0, 0 };
		return (uint64_t)-EINVAL;
	}
	*info = (struct bpf_pidns){ (uint32_t)raw(SYS_gettid), (uint32_t)raw(SYS_getpid) };
	return 0;
}

EB_HELPER(eb_send_signal)
{
	EB_UNUSED;
	return (uint64_t)raw(SYS_kill, raw(SYS_getpid), (int)r1);
}

EB_HELPER(eb_send_signal_thread)
{
	EB_UNUSED;
	return (uint64_t)raw(SYS_tgkill, raw(SYS_getpid), raw(SYS_gettid), (int)r1);
}
