#include "tracefs.h"

#include <sys/mount.h>
#include <unistd.h>

#define PLACE "/sys/kernel/tracing"

void tracefs_mount(void)
{
	if (access(PLACE "/events", F_OK))
		mount("tracefs", PLACE, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}
