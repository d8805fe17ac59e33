/*
 * `sweep LIBRARY`: hooks every function that the library exports, all at once, and works with some of them; prints
 * how many could be hooked, and for each that could not why.
 */
#include "counting.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <locale.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define MOST 40000

static struct counts counts;
static struct eb_hook *hooks[MOST];
static void *addresses[MOST];
static unsigned functions, hooked, returns;

static const void *map(const char *path)
{
	struct stat info;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *at;

	CHECK(fd >= 0 && !fstat(fd, &info));
	at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static int known(void *address)
{
	for (unsigned i = 0; i < functions; i++)
		if (addresses[i] == address)
			return 1;
	return 0;
}

static void hook_one(const char *name, void *address)
{
	char error[256];
	struct eb_hook *hook;

	if (known(address))
		return;
	CHECK(functions < MOST);
	hook = eb_hook_function(address, count_entry, count_return, &counts, error, sizeof(error));
	if (hook)
		returns++;
	else
		hook = eb_hook_function(address, count_entry, NULL, &counts, error, sizeof(error));
	addresses[functions] = address;
	hooks[functions++] = hook;
	hooked += !!hook;
	if (!hook)
		printf("refused %s: %s\n", name, error);
}

/* As the process has it: indirect functions are resolved, the library's base added. */
static void *address_of(const struct link_map *library, void *handle, const char *name, const Elf64_Sym *symbol)
{
	if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
		return dlsym(handle, name);
	return (void *)(library->l_addr + symbol->st_value);
}

static void hook_all(const struct link_map *library, void *handle)
{
	const char *image = map(library->l_name);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
		const char *strings = image + sections[sections[i].sh_link].sh_offset;

		for (size_t n = 0; sections[i].sh_type == SHT_DYNSYM && n < sections[i].sh_size / sizeof(*symbols); n++) {
			int type = ELF64_ST_TYPE(symbols[n].st_info);
			const char *name = strings + symbols[n].st_name;

			if (symbols[n].st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_GNU_IFUNC))
				hook_one(name, address_of(library, handle, name, &symbols[n]));
		}
	}
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void *in_thread(void *text)
{
	return strdup(text);
}

static void work(void)
{
	int numbers[100];
	char text[200], *copy;
	pthread_t thread;
	time_t day = 86400;
	struct tm tm;

	for (int i = 0; i < 100; i++)
		numbers[i] = (i * 37) % 100;
	qsort(numbers, 100, sizeof(int), compare);
	for (int i = 0; i < 100; i++)
		CHECK_EQUAL(numbers[i], i);
	CHECK_EQUAL(snprintf(text, sizeof(text), "%d %s %.3f %Lg", 42, "forty-two", 1.5, 2.25L), 23);
	CHECK(!strcmp(text, "42 forty-two 1.500 2.25"));
	CHECK(strtod("1e3", NULL) == 1000.0);
	CHECK(!pthread_create(&thread, NULL, in_thread, text));
	CHECK(!pthread_join(thread, (void **)&copy));
	CHECK(!strcmp(copy, text));
	free(copy);
	CHECK(gmtime_r(&day, &tm) && tm.tm_mday == 2);
	CHECK_EQUAL(system("exit 3"), 3 << 8);
	CHECK(setlocale(LC_ALL, "C"));
}

int main(int argc, char **argv)
{
	struct link_map *library;
	void *handle;

	CHECK(argc == 2);
	handle = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
	if (!handle)
		return puts("absent"), 77;
	CHECK(!dlinfo(handle, RTLD_DI_LINKMAP, &library));
	hook_all(library, handle);
	work();
	for (unsigned i = 0; i < functions; i++)
		if (hooks[i])
			CHECK_EQUAL(eb_unhook(hooks[i]), 0);
	work();
	printf("total %u hooked %u with_return %u entries %lu returns %lu missed %lu\n", functions, hooked, returns,
	       counts.entries, counts.returns, (unsigned long)eb_hook_missed());
	return 0;
}
