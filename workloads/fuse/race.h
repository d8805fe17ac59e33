/* Whether a process that asks all the time ever gets an answer that was not true while it asked. */
#pragma once

/* Does what `line` says and answers; 0: it is none of these commands. */
int race_obey(const char *line);
