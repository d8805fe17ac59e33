/* Makes the same system call when it is loaded and when it is asked to. */
long later(void);

long later(void)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(110) : "rcx", "r11", "memory"); /* getppid */
	return result;
}

__attribute__((constructor)) static void loaded(void)
{
	later();
}
