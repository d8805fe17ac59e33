#include "hook/lock.h"
#include "common/common.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int wanted;

void eb_lock(void)
{
	pthread_mutex_lock(&lock);
}

void eb_unlock(void)
{
	while (__atomic_exchange_n(&wanted, 0, __ATOMIC_ACQ_REL))
		eb_sweep();
	pthread_mutex_unlock(&lock);
	/* wanted again between the two: whoever wanted it did not get the lock */
	if (eb_load(&wanted))
		eb_sweep_soon();
}

void eb_sweep_soon(void)
{
	eb_store(&wanted, 1);
	if (!pthread_mutex_trylock(&lock))
		eb_unlock();
}
