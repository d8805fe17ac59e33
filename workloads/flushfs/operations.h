/* What the kernel asks of a file system, passed on to the live directory. */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse.h>

extern const struct fuse_operations flushfs_operations;

/* The live directory; to be called before the file system is mounted. */
void operations_start(int live);
