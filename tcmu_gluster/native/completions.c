#define _GNU_SOURCE
#include "completions.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

/* The compiler's own atomics: RHEL 7's gcc has no stdatomic.h. */

/* The callback types of glfs.h: before libgfapi 6 without, since then with the two stat pointers. */
typedef void (*callback_34)(void *file, ssize_t result, void *data);
typedef void (*callback_60)(void *file, ssize_t result, void *before, void *after, void *data);
typedef void (*any_callback)(void);

/* glfs_preadv_async and glfs_pwritev_async; fdatasync_async; discard_async and zerofill_async. */
typedef int (*vector_call)(void *file, const struct iovec *, int, off_t, int, any_callback, void *data);
typedef int (*sync_call)(void *file, any_callback, void *data);
typedef int (*range_call)(void *file, off_t, size_t, any_callback, void *data);

struct slot {
    tg_queue *queue;
    struct slot *next;
    void *file; /* atomic; NULL: free, or completed */
    int64_t result;
};

struct tg_queue {
    struct slot *completed; /* atomic; newest first */
    uint64_t strays; /* atomic */
    int users; /* atomic; operations whose callback may still touch this queue */
    int event_fd;
    int count;
    struct {
        void *function;
        any_callback callback;
    } calls[TG_CALLS];
    struct slot slots[];
};

void *tg_library_open(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }

const char *tg_library_error(void) {
    const char *text = dlerror();
    return text ? text : "no reason given";
}

void *tg_library_symbol(void *library, const char *name, const char *version) {
    return version ? dlvsym(library, name, version) : dlsym(library, name);
}

static void complete(struct slot *slot, ssize_t result, int error) {
    tg_queue *queue = slot->queue;
    slot->result = result >= 0 ? result : -(int64_t)(error > 0 ? error : EIO);
    if (__atomic_exchange_n(&slot->file, NULL, __ATOMIC_ACQ_REL) == NULL) {
        __atomic_fetch_add(&queue->strays, 1, __ATOMIC_RELAXED);
        return;
    }
    struct slot *head = __atomic_load_n(&queue->completed, __ATOMIC_RELAXED);
    do {
        slot->next = head;
    } while (!__atomic_compare_exchange_n(&queue->completed, &head, slot, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    if (head == NULL) {
        const uint64_t one = 1;
        /* It can't fail: the counter would have to reach 2^64 - 1. */
        ssize_t ignored = write(queue->event_fd, &one, sizeof one);
        (void)ignored;
    }
    /* Not a word of the queue after this: it may be freed now. (The slot itself was free to be used again before.) */
    __atomic_sub_fetch(&queue->users, 1, __ATOMIC_RELEASE);
}

static void on_completion_34(void *file, ssize_t result, void *data) {
    const int error = errno;
    (void)file;
    complete(data, result, error);
}

static void on_completion_60(void *file, ssize_t result, void *before, void *after, void *data) {
    const int error = errno;
    (void)file, (void)before, (void)after;
    complete(data, result, error);
}

tg_queue *tg_queue_new(int slots) {
    if (slots < 1 || slots > 65536) {
        errno = EINVAL;
        return NULL;
    }
    tg_queue *queue = calloc(1, sizeof *queue + (size_t)slots * sizeof queue->slots[0]);
    if (queue == NULL)
        return NULL;
    queue->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (queue->event_fd < 0) {
        free(queue);
        return NULL;
    }
    queue->count = slots;
    for (int i = 0; i < slots; i++)
        queue->slots[i].queue = queue;
    return queue;
}

int tg_queue_free(tg_queue *queue) {
    if (__atomic_load_n(&queue->users, __ATOMIC_ACQUIRE))
        return -EBUSY;
    close(queue->event_fd);
    free(queue);
    return 0;
}

int tg_queue_fd(const tg_queue *queue) { return queue->event_fd; }

void tg_queue_set_call(tg_queue *queue, int call, void *function, int with_stat) {
    queue->calls[call].function = function;
    queue->calls[call].callback = with_stat ? (any_callback)on_completion_60 : (any_callback)on_completion_34;
}

int tg_queue_drain(tg_queue *queue, int64_t *pairs) {
    uint64_t wakes;
    /* First the eventfd, then the list: what arrives between the two is taken now and wakes once for nothing. The other
     * way round its wake would be lost. */
    ssize_t ignored = read(queue->event_fd, &wakes, sizeof wakes);
    (void)ignored;
    struct slot *slot = __atomic_exchange_n(&queue->completed, NULL, __ATOMIC_ACQUIRE);
    int count = 0;
    for (struct slot *walk = slot; walk; walk = walk->next)
        count++;
    for (int i = count - 1; i >= 0; i--, slot = slot->next) {
        pairs[2 * i] = slot - queue->slots;
        pairs[2 * i + 1] = slot->result;
    }
    return count;
}

int tg_queue_in_flight(const tg_queue *queue, const void *file) {
    int count = 0;
    for (int i = 0; i < queue->count; i++) {
        const void *owner = __atomic_load_n(&queue->slots[i].file, __ATOMIC_ACQUIRE);
        count += file ? owner == file : owner != NULL;
    }
    return count;
}

uint64_t tg_queue_strays(const tg_queue *queue) { return __atomic_load_n(&queue->strays, __ATOMIC_RELAXED); }

/* Owns the slot for file; NULL if it is taken, out of range, or the library lacks the call (errno). */
static struct slot *claim(tg_queue *queue, int slot, int call, void *file) {
    void *nobody = NULL;
    if (slot < 0 || slot >= queue->count || call < 0 || call >= TG_CALLS || file == NULL) {
        errno = EINVAL;
        return NULL;
    }
    if (queue->calls[call].function == NULL) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    if (!__atomic_compare_exchange_n(&queue->slots[slot].file, &nobody, file, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        errno = EBUSY;
        return NULL;
    }
    __atomic_add_fetch(&queue->users, 1, __ATOMIC_RELAXED);
    return &queue->slots[slot];
}

/* 0, or -errno with the slot given back. */
static int submitted(struct slot *slot, int result) {
    const int error = errno;
    if (result == 0)
        return 0;
    __atomic_store_n(&slot->file, NULL, __ATOMIC_RELEASE);
    __atomic_sub_fetch(&slot->queue->users, 1, __ATOMIC_RELEASE);
    return -(error > 0 ? error : EIO);
}

static int submit_vector(tg_queue *queue, int call, int number, void *file, const struct iovec *vector, int count,
                         int64_t offset, int flags) {
    struct slot *slot = claim(queue, number, call, file);
    if (slot == NULL)
        return -errno;
    errno = 0;
    return submitted(slot, ((vector_call)queue->calls[call].function)(file, vector, count, offset, flags,
                                                                       queue->calls[call].callback, slot));
}

int tg_read(tg_queue *queue, int slot, void *file, void *data, size_t length, int64_t offset) {
    const struct iovec vector = {data, length};
    return submit_vector(queue, TG_READ, slot, file, &vector, 1, offset, 0);
}

int tg_readv(tg_queue *queue, int slot, void *file, const struct iovec *vector, int count, int64_t offset) {
    return submit_vector(queue, TG_READ, slot, file, vector, count, offset, 0);
}

int tg_write(tg_queue *queue, int slot, void *file, void *data, size_t length, int64_t offset, int flags) {
    const struct iovec vector = {data, length};
    return submit_vector(queue, TG_WRITE, slot, file, &vector, 1, offset, flags);
}

int tg_writev(tg_queue *queue, int slot, void *file, const struct iovec *vector, int count, int64_t offset, int flags) {
    return submit_vector(queue, TG_WRITE, slot, file, vector, count, offset, flags);
}

int tg_sync(tg_queue *queue, int number, void *file) {
    struct slot *slot = claim(queue, number, TG_SYNC, file);
    if (slot == NULL)
        return -errno;
    errno = 0;
    return submitted(slot, ((sync_call)queue->calls[TG_SYNC].function)(file, queue->calls[TG_SYNC].callback, slot));
}

int tg_range(tg_queue *queue, int number, int call, void *file, int64_t offset, int64_t length) {
    struct slot *slot = claim(queue, number, call, file);
    if (slot == NULL)
        return -errno;
    errno = 0;
    return submitted(slot, ((range_call)queue->calls[call].function)(file, offset, (size_t)length,
                                                                      queue->calls[call].callback, slot));
}
