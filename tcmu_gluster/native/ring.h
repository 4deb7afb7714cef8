/* The two words of a TCMU mailbox that kernel and handler use at the same time. */
#ifndef TCMU_GLUSTER_RING_H
#define TCMU_GLUSTER_RING_H

#include <stdint.h>

/* cmd_head: nothing the kernel wrote before it published this value can be seen later than the value. */
uint32_t tg_ring_load_acquire(const uint32_t *word);
/* cmd_tail: nothing we wrote before this call can be seen later than the value. */
void tg_ring_store_release(uint32_t *word, uint32_t value);

#endif
