/* What the loader and the programs of the fuse experiment know of each other: maps, variables and how they lie in memory. */
#pragma once

#define FILTER 128

/* Variable in .data.settings, written by the loader as a whole before the processes in question go on. */
struct settings {
	unsigned int server, client; /* processes; ~0: none yet */
	unsigned int incarnation;    /* how many clients there have been: each has descriptors of its own */
	unsigned long long device;   /* st_dev of what lies on the file system */
	unsigned int reads_change;   /* whether reading changes times of access in the backing directory */
	unsigned int filter_length;  /* 0: nothing is refused */
	unsigned int uncached;	     /* 1: programs run, answer nothing and keep nothing */
	unsigned int names_mask, listings_mask; /* one less than how many there are */
	char filter[FILTER];	     /* path as the server sees it: refused, with everything below */
};

/* Variable in .data.coherence: see coherence.bpf.h. */
struct coherence {
	unsigned long long begun, ended; /* changes that the server was asked for, and those that it has answered */
	unsigned long long links;	 /* symbolic links that it was asked to read */
	unsigned long long first;	 /* the request with which a session begins */
	unsigned long long agreed;	 /* 1: it began before our eyes, and the kernel keeps back nothing that the server does not see */
	unsigned long long lost;	 /* the client did what cannot be followed: nothing is answered any more */
	unsigned long long descriptions; /* how many were ever handed out */
};

/* Variable in .data.numbers: what was counted. Loader and programs go through this list. */
#define NUMBERS(each) \
	each(stat_hits) each(stat_misses) each(open_hits) each(open_misses) each(list_hits) each(list_misses) each(list_ends) \
	each(seek_hits) each(kept) each(changes) each(refused) each(uncacheable)

struct numbers {
#define NUMBER(name) unsigned long long name;
	NUMBERS(NUMBER)
#undef NUMBER
};
