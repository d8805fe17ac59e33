/* Who diverts functions: our trampolines, or the interceptor of frida-gum, which gum.py brings into the process. */
#pragma once

#include "hook/internal.h"

int eb_backend_is_gum(void);

/* Brings gum into this process, with the package in the directory that the setting EMBEDDED_GUM names. 0 or -errno with the reason. */
int eb_gum_bring(char *error, size_t size);

/* `wants`: 1 entries, 2 returns, 3 both. Diverts and no longer diverts the site's function with gum. 0, or -1 with the reason. */
int eb_gum_attach(struct eb_site *site, int wants, char *error, size_t size);
void eb_gum_detach(struct eb_site *site);
