/* SPDX-License-Identifier: MIT */
/*
 * The memory in world.h: channels, and files with arguments that are too long
 * for one.
 */
#include "world.h"

#include "core/mem.h"
#include "os/shm.h"

#include <stdlib.h>
#include <string.h>

enum { FD_FILE = WORLD_FD + 100, FD_CHANNEL = WORLD_FD + 200 };

enum { FILES = 16 };

/* The cells of one channel. */
enum {
    CELL_TASK,                           /* + slot */
    CELL_ARG = CELL_TASK + SOON__RING,   /* + slot */
    CELL_VALUE = CELL_ARG + SOON__RING,  /* + slot */
    CELL_ARGS = CELL_VALUE + SOON__RING, /* + half of the area */
    CELL_VALUES = CELL_ARGS + 2,         /* + block that a result begins with */
    CELLS = CELL_VALUES + 2 * WORLD_TASKS,
    NO_CELL = MODEL_CELLS,
};

_Static_assert(CELLS *WORLD_LIVES <= MODEL_CELLS, "more than the checker has");

unsigned world_n_lives;

static _Alignas(64) unsigned char memory[WORLD_LIVES][SOON__CHANNEL_SIZE];
static struct segment segments[WORLD_LIVES];
static bool freed[WORLD_LIVES]; /* segments */
static struct seat the_seat;
static unsigned char files[FILES];
static int n_files;

/* ---- cells ---- */

struct soon__channel *world_channel(unsigned life)
{
    return (void *)memory[life];
}

static unsigned cell_in(const struct soon__channel *channel, const void *at)
{
    size_t offset = (size_t)((const unsigned char *)at - (const unsigned char *)channel);

    if (offset >= SOON__VALUES_AT)
        return CELL_VALUES + (unsigned)((offset - SOON__VALUES_AT) / SOON__BLOCK);
    if (offset >= SOON__ARGS_AT)
        return CELL_ARGS + (unsigned)((offset - SOON__ARGS_AT) / SOON__SLAB_MAX);
    for (unsigned i = 0; i < SOON__RING; i++) {
        const struct soon__slot *slot = &channel->slot[i];
        if (at == &slot->function)
            return CELL_TASK + i;
        if (at == slot->arg)
            return CELL_ARG + i;
        if (at == slot->value)
            return CELL_VALUE + i;
    }
    return NO_CELL;
}

static unsigned cell_of(const void *at)
{
    for (unsigned i = 0; i < world_n_lives; i++)
        if ((uintptr_t)at - (uintptr_t)memory[i] < SOON__CHANNEL_SIZE) {
            unsigned cell = cell_in(world_channel(i), at);
            return cell == NO_CELL ? cell : i * CELLS + cell;
        }
    return NO_CELL;
}

void world_wrote(const void *at)
{
    if (cell_of(at) != NO_CELL)
        model_write(cell_of(at));
}

void world_read(const void *at)
{
    if (cell_of(at) != NO_CELL)
        model_read(cell_of(at));
}

/* Only the first byte of anything long matters. */
void *world_copy(void *to, const void *from, size_t n)
{
    world_read(from);
    world_wrote(to);
    return memmove(to, from, n <= SOON__ARG_SMALL ? n : 1);
}

/* ---- mappings ---- */

int soon__shm_new(const char *name, size_t size)
{
    (void)name;
    model_expect(world_n_lives < WORLD_LIVES && size == SOON__CHANNEL_SIZE, "one worker too many");
    return FD_CHANNEL + (int)world_n_lives++;
}

int soon__shm_new_open(const char *name, size_t size)
{
    (void)name, (void)size;
    model_expect(n_files < FILES, "more files than there is room for");
    return FD_FILE + n_files++;
}

int soon__shm_filled(const char *name, const void *data, size_t len)
{
    int fd = soon__shm_new_open(name, len);

    memcpy(&files[fd - FD_FILE], data, len);
    return fd;
}

int soon__shm_seal(int fd)
{
    (void)fd;
    return 0;
}

bool soon__shm_is_frozen(int fd, size_t size)
{
    (void)fd, (void)size;
    return true;
}

void *soon__shm_map(int fd, size_t offset, size_t size, unsigned use)
{
    (void)size, (void)use;
    return fd >= FD_CHANNEL ? &memory[fd - FD_CHANNEL][offset] : &files[fd - FD_FILE];
}

/* What lies there is gone: arguments with the one mapping, results with the
 * other. */
void soon__shm_unmap(void *at, size_t size)
{
    unsigned char *end = (unsigned char *)at + size;

    if (size == SOON__VALUES_SIZE)
        for (size_t i = 0; i < 2 * WORLD_TASKS; i++)
            world_wrote(end - size + i * SOON__BLOCK);
    if (size == SOON__VALUES_AT)
        for (size_t i = 1; i <= SOON__ARGS_SIZE / SOON__SLAB_MAX; i++)
            world_wrote(end - i * SOON__SLAB_MAX);
}

void *soon__zalloc(size_t size)
{
    if (size == sizeof(struct seat))
        return &the_seat;
    model_expect(size == sizeof(struct segment), "nothing else is needed");
    return &segments[world_n_lives - 1];
}

void soon__free(void *p, size_t size)
{
    (void)size;
    for (unsigned i = 0; i < WORLD_LIVES; i++)
        if (p == &segments[i]) {
            model_expect(!freed[i], "a segment was freed twice");
            freed[i] = true;
        }
}

/* ---- before and after ---- */

static void bind_slot(struct soon__slot *slot)
{
    MODEL_BIND(slot->state, "state");
    MODEL_BIND(slot->code, "code");
    MODEL_BIND(slot->origin, "origin");
    MODEL_BIND(slot->value_where, "value");
    MODEL_BIND(slot->value_len, "value");
    MODEL_BIND(slot->value_at, "value");
    MODEL_BIND(slot->spent, "spent");
    MODEL_BIND(slot->asked, "asked");
    MODEL_BIND(slot->progress_count, "progress_count");
    for (int i = 0; i < SOON__REPORTS; i++) {
        MODEL_BIND(slot->progress[i].done, "progress");
        MODEL_BIND(slot->progress[i].total, "progress");
    }
}

static void bind_life(unsigned i)
{
    struct soon__channel *channel = world_channel(i);

    memset(channel, 0, sizeof *channel);
    MODEL_BIND(channel->given_up, "given_up");
    MODEL_BIND(channel->asleep, "asleep");
    MODEL_BIND(channel->roused, "roused");
    MODEL_BIND(channel->bell, "bell");
    MODEL_BIND(channel->blocks, "blocks");
    for (int k = 0; k < SOON__RING; k++)
        bind_slot(&channel->slot[k]);
    atomic_init(&segments[i].refs, 1); /* as it will be */
    MODEL_BIND(segments[i].refs, "refs");
    MODEL_BIND(segments[i].lent, "lent");
}

void world_memory_begin(unsigned n)
{
    memset(segments, 0, sizeof segments);
    memset(freed, 0, sizeof freed);
    memset(&the_seat, 0, sizeof the_seat);
    world_n_lives = 0;
    n_files = 0;
    for (unsigned i = 0; i < n; i++)
        bind_life(i);
}

void world_memory_end(void)
{
    for (unsigned i = 0; i < world_n_lives; i++) {
        model_expect(freed[i], "a segment was leaked");
        model_expect(atomic_load(&segments[i].lent) == 0, "a block is still lent");
    }
}

/* ---- the store ---- */

/* There is none: what lies there is published by its slot, as what lies in an
 * area is, and no step of the protocol is its own. */
bool soon__store_has(const struct store *store, const void *at)
{
    (void)store;
    (void)at;
    return false;
}

uint32_t soon__store_offset(const struct store *store, const void *at)
{
    (void)store;
    (void)at;
    abort();
}

void soon__store_give_back(struct store *store, const void *at, size_t len)
{
    (void)store;
    (void)at;
    (void)len;
    abort();
}
