/* The queue that carries libgfapi's completions from Gluster's threads to the loop.
 *
 * One queue a loop, with a fixed number of slots. An operation is submitted under a free slot (the caller keeps the free
 * list and whatever belongs to the operation); its completion pushes the slot onto a lock-free list and writes the
 * eventfd if the list was empty. tg_queue_drain takes the whole list at once. Nothing here allocates after
 * tg_queue_new, nothing blocks, and what a result means is the caller's business: >= 0 as libgfapi gave it, or -errno.
 *
 * This header is also what cffi is told (build.py drops the preprocessor's lines), so it holds plain declarations only.
 */
#ifndef TCMU_GLUSTER_COMPLETIONS_H
#define TCMU_GLUSTER_COMPLETIONS_H

#include <stdint.h>
#include <sys/uio.h>

typedef struct tg_queue tg_queue;

/* Opening a library at run time; library NULL: dlerror() of the last failure is in tg_library_error(). */
void *tg_library_open(const char *path);
const char *tg_library_error(void);
/* version NULL: whatever the library calls its default. NULL: not there. */
void *tg_library_symbol(void *library, const char *name, const char *version);

/* The libgfapi calls a queue submits; all of them take a callback. */
enum tg_call { TG_READ, TG_WRITE, TG_SYNC, TG_DISCARD, TG_ZEROFILL, TG_CALLS };

/* NULL with errno when memory or file descriptors are out. slots: 1..65536 */
tg_queue *tg_queue_new(int slots);
/* 0, or -EBUSY while an operation is in flight: Gluster would write into freed memory. */
int tg_queue_free(tg_queue *queue);
/* Readable when there is something to drain. */
int tg_queue_fd(const tg_queue *queue);
/* function: address of the asynchronous call; with_stat: its callback has the two stat pointers (libgfapi >= 6). */
void tg_queue_set_call(tg_queue *queue, int call, void *function, int with_stat);
/* Everything that completed: pairs of slot and result, oldest first. pairs has room for every slot. Returns how many. */
int tg_queue_drain(tg_queue *queue, int64_t *pairs);
/* Operations on file that libgfapi has not called back for. Safe from any thread. */
int tg_queue_in_flight(const tg_queue *queue, const void *file);
/* Callbacks for slots nobody had submitted: libgfapi called twice, or called for what it had refused. */
uint64_t tg_queue_strays(const tg_queue *queue);

/* Submissions: 0, or -errno when libgfapi refused at once (then the slot is free again and nothing will follow).
 * The memory must stay until the completion. offset and length in bytes; flags as in open(2), for this write alone. */
int tg_read(tg_queue *queue, int slot, void *file, void *data, size_t length, int64_t offset);
int tg_readv(tg_queue *queue, int slot, void *file, const struct iovec *vector, int count, int64_t offset);
int tg_write(tg_queue *queue, int slot, void *file, void *data, size_t length, int64_t offset, int flags);
int tg_writev(tg_queue *queue, int slot, void *file, const struct iovec *vector, int count, int64_t offset, int flags);
int tg_sync(tg_queue *queue, int slot, void *file);
int tg_range(tg_queue *queue, int slot, int call, void *file, int64_t offset, int64_t length);

#endif
