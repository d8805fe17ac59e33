/* Helpers on maps. Where the map is known when a program is compiled, its own functions are called and not these. */
#include "runtime/helpers.h"

#include <errno.h>

#define MAP ((struct eb_map *)r1)
#define KIND (MAP->kind)

EB_HELPER(eb_map_lookup_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->lookup ? KIND->lookup(MAP, (const void *)r2) : NULL);
}

EB_HELPER(eb_map_update_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->update ? KIND->update(MAP, (const void *)r2, (const void *)r3, r4) : -EOPNOTSUPP);
}

EB_HELPER(eb_map_delete_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->erase ? KIND->erase(MAP, (const void *)r2) : -EOPNOTSUPP);
}

EB_HELPER(eb_map_push_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->push ? KIND->push(MAP, (const void *)r2, r3) : -EOPNOTSUPP);
}

EB_HELPER(eb_map_pop_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->pop ? KIND->pop(MAP, (void *)r2) : -EOPNOTSUPP);
}

EB_HELPER(eb_map_peek_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->peek ? KIND->peek(MAP, (void *)r2) : -EOPNOTSUPP);
}

EB_HELPER(eb_map_lookup_percpu_elem)
{
	EB_UNUSED;
	return (uint64_t)(KIND->lookup_on ? KIND->lookup_on(MAP, (const void *)r2, (uint32_t)r3) : NULL);
}

/* bpf_for_each_map_elem(map, callback(map, key, value, context), context, flags) */
EB_HELPER(eb_for_each_map_elem)
{
	uint64_t (*callback)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) = (void *)r2;
	uint64_t keys[2][512 / 8], count = 0;
	long error;

	EB_UNUSED;
	if (r4 || !KIND->next || !KIND->lookup || MAP->key_size > sizeof(keys[0]))
		return (uint64_t)-EINVAL;
	/* the key after next is found before the callback may delete this one */
	error = KIND->next(MAP, NULL, keys[0]);
	for (unsigned now = 0; !error && count < MAP->entries; now ^= 1) {
		void *value = KIND->lookup(MAP, keys[now]);

		error = KIND->next(MAP, keys[now], keys[now ^ 1]);
		if (!value)
			continue;
		count++;
		if (callback(r1, (uint64_t)keys[now], (uint64_t)value, r3, 0))
			break;
	}
	return count;
}
