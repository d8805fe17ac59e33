/* What the environment says, or whoever has brought the agent into a running process. */
#ifndef EB_SETTING_H
#define EB_SETTING_H

/* The value of a variable, NULL when there is none. */
const char *eb_setting(const char *name);

/* "NAME=VALUE\0NAME=VALUE\0\0": go before the environment's from now on; kept, not copied. */
void eb_settings_given(const char *given);

/* Unless some were given, keeps those of ours that the environment has now: servers clear theirs before they go to work. */
void eb_settings_keep(void);

#endif
