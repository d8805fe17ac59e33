#include "operations.h"
#include "durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int live;

void operations_start(int directory)
{
	live = directory;
}

/* Paths come with a slash in front; ours are relative to a directory. */
static const char *inside(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int result_of(int outcome)
{
	return outcome < 0 ? -errno : 0;
}

static void *start(struct fuse_conn_info *connection, struct fuse_config *config)
{
	/* A cache of writes in the kernel would hold back what the program believes to have written. */
	connection->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
	config->use_ino = 1;
	return NULL;
}

static int get_attributes(const char *path, struct stat *status, struct fuse_file_info *file)
{
	return result_of(file ? fstat((int)file->fh, status) : fstatat(live, inside(path), status, AT_SYMLINK_NOFOLLOW));
}

static int read_link(const char *path, char *buffer, size_t size)
{
	ssize_t length = readlinkat(live, inside(path), buffer, size - 1);

	if (length < 0)
		return -errno;
	buffer[length] = 0;
	return 0;
}

static int make_directory(const char *path, mode_t mode)
{
	return durable_name(NAME_DIRECTORY, inside(path), NULL, mode);
}

static int remove_file(const char *path)
{
	return durable_name(NAME_REMOVE, inside(path), NULL, 0);
}

static int remove_directory(const char *path)
{
	return durable_name(NAME_REMOVE_DIRECTORY, inside(path), NULL, 0);
}

static int make_symlink(const char *target, const char *path)
{
	return durable_name(NAME_SYMLINK, inside(path), target, 0);
}

static int rename_file(const char *from, const char *to, unsigned flags)
{
	return flags ? -EINVAL : durable_name(NAME_RENAME, inside(from), inside(to), 0);
}

static int link_file(const char *from, const char *to)
{
	return durable_name(NAME_LINK, inside(from), inside(to), 0);
}

static int change_mode(const char *path, mode_t mode, struct fuse_file_info *file)
{
	(void)file;
	return durable_name(NAME_MODE, inside(path), NULL, mode);
}

static int change_size(const char *path, off_t size, struct fuse_file_info *file)
{
	(void)file;
	return durable_name(NAME_SIZE, inside(path), NULL, (uint64_t)size);
}

/* Times belong to what is seen; a loss may take them back. */
static int change_times(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
	(void)file;
	return result_of(utimensat(live, inside(path), times, AT_SYMLINK_NOFOLLOW));
}

static int open_live(const char *path, int flags, struct fuse_file_info *file)
{
	/* The kernel has made sense of the other flags already; reading is needed wherever a page is half written. */
	int mode = (flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR;
	int handle = openat(live, inside(path), mode | O_CLOEXEC | O_NOFOLLOW);

	if (handle < 0)
		return -errno;
	file->fh = (uint64_t)handle;
	return 0;
}

static int open_file(const char *path, struct fuse_file_info *file)
{
	int error = file->flags & O_TRUNC ? durable_name(NAME_SIZE, inside(path), NULL, 0) : 0;

	return error ? error : open_live(path, file->flags, file);
}

static int create_file(const char *path, mode_t mode, struct fuse_file_info *file)
{
	int error = durable_name(NAME_CREATE, inside(path), NULL, mode);

	return error ? error : open_live(path, O_RDWR, file);
}

static int read_file(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *file)
{
	ssize_t got = pread((int)file->fh, buffer, size, offset);

	(void)path;
	return got < 0 ? -errno : (int)got;
}

static int write_file(const char *path, const char *data, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)path;
	return (int)durable_write((int)file->fh, data, size, offset);
}

static int release_file(const char *path, struct fuse_file_info *file)
{
	(void)path;
	close((int)file->fh);
	return 0;
}

static int flush_file(const char *path, int data_only, struct fuse_file_info *file)
{
	(void)data_only;
	(void)file;
	return durable_flush(inside(path));
}

static int flush_directory(const char *path, int data_only, struct fuse_file_info *file)
{
	(void)path;
	(void)data_only;
	(void)file;
	return durable_flush(NULL);
}

static int read_directory(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
			  enum fuse_readdir_flags flags)
{
	int handle = openat(live, inside(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = handle < 0 ? NULL : fdopendir(handle);
	struct dirent *entry;

	(void)offset;
	(void)file;
	(void)flags;
	if (!directory)
		return -errno;
	while ((entry = readdir(directory)))
		if (fill(buffer, entry->d_name, NULL, 0, 0))
			break;
	closedir(directory);
	return 0;
}

static int file_system(const char *path, struct statvfs *status)
{
	(void)path;
	return result_of(fstatvfs(live, status));
}

const struct fuse_operations flushfs_operations = {
	.init = start,
	.getattr = get_attributes,
	.readlink = read_link,
	.mkdir = make_directory,
	.unlink = remove_file,
	.rmdir = remove_directory,
	.symlink = make_symlink,
	.rename = rename_file,
	.link = link_file,
	.chmod = change_mode,
	.truncate = change_size,
	.utimens = change_times,
	.open = open_file,
	.create = create_file,
	.read = read_file,
	.write = write_file,
	.release = release_file,
	.fsync = flush_file,
	.fsyncdir = flush_directory,
	.readdir = read_directory,
	.statfs = file_system,
};
