#include "runtime/segment.h"
#include "common/log.h"
#include "runtime/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x6465646465626d65ull
#define VERSION 5
#define DIRECTORY "/dev/shm/"
/*
 * Where it is mapped unless that is taken: left alone, the system would put it just below the libraries, and hooks need free
 * memory within 2 GiB of these.
 */
#define FAR_AWAY ((char *)0x300000000000)

struct eb_view eb_view = { .file = -1 };

static pthread_mutex_t in_process = PTHREAD_MUTEX_INITIALIZER;
static int lock_file = -1;

static int same_file(int file, const char *path)
{
	struct stat open, named;

	return !fstat(file, &open) && !stat(path, &named) && open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

/* Opens the file with the lock held. Somebody may have removed it while we waited for the lock: then once more. */
static int open_locked(const char *path)
{
	for (;;) {
		/* not O_CREAT at once: that fails on another user's file in a directory with the sticky bit */
		int file = open(path, O_RDWR | O_CLOEXEC);

		if (file < 0 && errno == ENOENT)
			file = open(path, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
		if (file < 0 || flock(file, LOCK_EX))
			return -errno;
		if (same_file(file, path))
			return file;
		close(file);
	}
}

static int valid(const struct eb_segment *segment)
{
	return segment->magic == MAGIC && segment->version == VERSION && segment->size == EB_SEGMENT_SIZE;
}

static void make_new(struct eb_segment *segment, int file)
{
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)EB_SEGMENT_SIZE))
		memset(segment, 0, sizeof(*segment));
	segment->version = VERSION;
	segment->cpus = eb_possible_cpus();
	if (segment->cpus > EB_CPUS)
		segment->cpus = EB_CPUS;
	segment->size = EB_SEGMENT_SIZE;
	segment->memory = eb_round(sizeof(*segment), EB_PAGE);
	eb_store(&segment->magic, MAGIC);
}

static struct eb_segment *map_file(int file)
{
	struct stat status;
	void *at;

	if (fstat(file, &status) || (status.st_size != (off_t)EB_SEGMENT_SIZE && ftruncate(file, (off_t)EB_SEGMENT_SIZE)))
		return NULL;
	for (int i = 0; i < 8; i++) { /* a loader that is a target, too, maps it twice */
		at = mmap(FAR_AWAY + i * EB_SEGMENT_SIZE, EB_SEGMENT_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, file, 0);
		if (at != MAP_FAILED)
			break;
	}
	if (at == MAP_FAILED)
		at = mmap(NULL, EB_SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
	if (at == MAP_FAILED)
		return NULL;
	madvise(at, EB_SEGMENT_SIZE, MADV_DONTDUMP);
	return at;
}

static void free_place(struct eb_user *user);

/* A program that this process was before an exec has ended without a word; its records and locks are a dead one's. */
static void leave_what_was_before(struct eb_segment *segment, uint32_t self, enum eb_role role)
{
	for (uint32_t i = 0; i < eb_users_top(); i++) {
		struct eb_user *user = &segment->users[i];

		if (i != eb_view.user && eb_peek(&user->pid) == self && user->role == role)
			free_place(user);
	}
}

/* Takes a free place in the table, without a lock: agents in children after fork may not be able to open the file. */
static int enter(struct eb_segment *segment, enum eb_role role)
{
	uint32_t self = (uint32_t)getpid();

	for (uint32_t i = 0; i < EB_USERS; i++) {
		struct eb_user *user = &segment->users[i];
		uint32_t free = 0, top;

		if (eb_peek(&user->pid) || !__atomic_compare_exchange_n(&user->pid, &free, self, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		while ((top = eb_users_top()) <= i &&
		       !__atomic_compare_exchange_n(&segment->users_top, &top, i + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			;
		user->generation++;
		user->seen = 0;
		user->start = eb_process_start(self, &user->image);
		eb_store(&user->role, role);
		eb_view.user = i;
		leave_what_was_before(segment, self, role);
		return 0;
	}
	return -EUSERS;
}

static int set_up(int file, const char *path, enum eb_role role)
{
	struct eb_segment *segment = map_file(file);
	struct stat status;
	int error;

	if (!segment)
		return -errno;
	fstat(file, &status);
	eb_view = (struct eb_view){ segment, file, 0, status.st_dev, status.st_ino, "" };
	snprintf(eb_view.path, sizeof(eb_view.path), "%s", path);
	if (!valid(segment) || eb_users_bury() == 0)
		make_new(segment, file);
	error = enter(segment, role);
	if (error) {
		munmap(segment, EB_SEGMENT_SIZE);
		eb_view = (struct eb_view){ .file = -1 };
	}
	return error;
}

int eb_segment_open(const char *name, enum eb_role role)
{
	char path[128];
	int lock, file, error;

	if (!*name || strchr(name, '/') || strlen(name) > 64)
		return -EINVAL;
	snprintf(path, sizeof(path), DIRECTORY EB_SEGMENT_PREFIX "%s", name);
	lock = open_locked(path);
	if (lock < 0)
		return lock;
	/* another open file than that of the lock: what is kept must not hold it */
	file = open(path, O_RDWR | O_CLOEXEC);
	error = file < 0 ? -errno : set_up(file, path, role);
	if (error && file >= 0)
		close(file);
	close(lock);
	return error;
}

void eb_segment_lock(void)
{
	int kept = errno;

	pthread_mutex_lock(&in_process);
	lock_file = open(eb_view.path, O_RDWR | O_CLOEXEC);
	if (lock_file < 0 || flock(lock_file, LOCK_EX) || !same_file(lock_file, eb_view.path))
		eb_log_warning("cannot lock %s: %s", eb_view.path, strerror(errno));
	errno = kept;
}

void eb_segment_unlock(void)
{
	if (lock_file >= 0)
		close(lock_file);
	lock_file = -1;
	pthread_mutex_unlock(&in_process);
}

void eb_segment_leave(void)
{
	struct eb_segment *segment = eb_view.segment;
	struct eb_user *self;

	if (!segment)
		return;
	self = &segment->users[eb_view.user];
	if (eb_peek(&self->pid) != (uint32_t)getpid())
		return; /* a child that never became a user */
	eb_segment_lock();
	free_place(self);
	if (eb_users_bury() == 0 && eb_view.file >= 0 && same_file(eb_view.file, eb_view.path))
		unlink(eb_view.path);
	eb_segment_unlock();
	eb_futex_wake(&self->seen);
}

int eb_segment_forked(enum eb_role role)
{
	static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

	in_process = fresh;
	lock_file = -1;
	return enter(eb_view.segment, role);
}

static void sweep_one(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct eb_view kept = eb_view;
	struct eb_segment *segment;

	if (file < 0)
		return;
	if (flock(file, LOCK_EX | LOCK_NB) || !same_file(file, path)) {
		close(file);
		return;
	}
	segment = mmap(NULL, EB_SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
	if (segment != MAP_FAILED) {
		struct stat status;

		eb_view = (struct eb_view){ .segment = segment, .file = file };
		/* one that is being made has no size or no magic yet, and its maker holds or awaits the lock */
		if (!fstat(file, &status) && status.st_size == (off_t)EB_SEGMENT_SIZE && valid(segment) && eb_users_bury() == 0)
			unlink(path);
		eb_view = kept;
		munmap(segment, EB_SEGMENT_SIZE);
	}
	close(file);
}

void eb_segment_sweep(void)
{
	DIR *directory = opendir(DIRECTORY);
	struct dirent *entry;
	char path[sizeof(DIRECTORY) + sizeof(entry->d_name)];

	while (directory && (entry = readdir(directory))) {
		if (strncmp(entry->d_name, EB_SEGMENT_PREFIX, sizeof(EB_SEGMENT_PREFIX) - 1))
			continue;
		snprintf(path, sizeof(path), DIRECTORY "%s", entry->d_name);
		if (strcmp(path, eb_view.path))
			sweep_one(path);
	}
	if (directory)
		closedir(directory);
}

/* --- users ---------------------------------------------------------------------------------------------------- */

int eb_user_lives(const struct eb_user *user)
{
	uint32_t pid = eb_load(&user->pid);

	return pid && eb_process_is(pid, eb_peek(&user->start), eb_peek(&user->image));
}

/* The next one in this place is not to be judged by what is left of this one. */
static void free_place(struct eb_user *user)
{
	eb_poke(&user->image, 0);
	eb_poke(&user->start, 0);
	eb_store(&user->pid, 0);
}

static void bury_objects(uint32_t owner)
{
	/* links first: they hold the others */
	for (int links = 1; links >= 0; links--) {
		for (uint32_t i = 0; i < eb_objects_top(); i++) {
			struct eb_object *object = &eb_view.segment->objects[i];

			if (object->kind == EB_FREE || object->kind == EB_DEAD || object->owner != owner)
				continue;
			if ((object->kind == EB_LINK) == links && object->descriptors)
				eb_object_drop(object, (int)object->descriptors, 0);
		}
	}
}

/* Objects of owners that have left or died, also by a way that nobody has seen. */
static int bury_orphans(void)
{
	int buried = 0;

	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_object *object = &eb_view.segment->objects[i];
		const struct eb_user *owner = &eb_view.segment->users[object->owner % EB_USERS];

		if (object->kind == EB_FREE || object->kind == EB_DEAD || !object->descriptors)
			continue;
		if (!eb_peek(&owner->pid) || owner->generation != object->owner_generation) {
			bury_objects(object->owner);
			buried = 1;
		}
	}
	return buried;
}

int eb_users_bury(void)
{
	struct eb_segment *segment = eb_view.segment;
	int alive = 0;

	for (uint32_t i = 0; i < eb_users_top(); i++) {
		struct eb_user *user = &segment->users[i];

		if (!eb_peek(&user->pid))
			continue;
		if (eb_user_lives(user))
			alive++;
		else
			free_place(user);
	}
	/* whoever buries tells: it may be a loader of another segment, which will not come back */
	if (alive && bury_orphans())
		eb_doorbell_ring();
	return alive;
}

/* --- doorbell -------------------------------------------------------------------------------------------------- */

uint32_t eb_doorbell_ring(void)
{
	uint32_t number = __atomic_add_fetch(&eb_view.segment->doorbell, 1, __ATOMIC_SEQ_CST);

	eb_futex_wake(&eb_view.segment->doorbell);
	return number;
}

static int wait_for(struct eb_user *user, uint32_t number, uint64_t until)
{
	uint32_t seen;

	while (eb_load(&user->pid) && (int32_t)((seen = eb_load(&user->seen)) - number) < 0) {
		uint64_t now = eb_milliseconds();

		if (!eb_user_lives(user))
			return 1;
		if (now >= until)
			return 0;
		eb_futex_wait(&user->seen, seen, (int)(until - now < 20 ? until - now : 20));
	}
	return 1;
}

int eb_doorbell_wait(uint32_t number, int milliseconds)
{
	uint64_t until = eb_milliseconds() + (uint64_t)milliseconds;
	int all = 1;

	for (uint32_t i = 0; i < eb_users_top(); i++)
		if (eb_load(&eb_view.segment->users[i].pid) && eb_view.segment->users[i].role == EB_AGENT)
			all &= wait_for(&eb_view.segment->users[i], number, until);
	return all;
}

void eb_doorbell_sleep(uint32_t seen, int milliseconds)
{
	eb_futex_wait(&eb_view.segment->doorbell, seen, milliseconds);
}

void eb_doorbell_acknowledge(uint32_t number)
{
	struct eb_user *self = &eb_view.segment->users[eb_view.user];

	eb_store(&self->seen, number);
	eb_futex_wake(&self->seen);
}
