/* What a process can be told to do to a file system and to say of it, one deed a command: see workloads/README.md. */
#pragma once

/* Does what `line` says and answers; 0: it is no deed. */
int deeds_obey(const char *line);
/* Opens a directory and learns what it is, as opendir does; −1 with errno. */
int deeds_directory(const char *path);
