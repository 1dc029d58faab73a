/* SPDX-License-Identifier: MIT */
/* The regular files below some paths, sorted. See checksum.h. */
#include "checksum.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* The byte of a name at i. A directory's name goes on with a slash: what it holds comes after
 * `dir.h` and before `dir0`, as it does when whole paths are sorted. */
static int byte_at(const FTSENT *entry, size_t i)
{
    if (i < entry->fts_namelen)
        return (unsigned char)entry->fts_name[i];
    return entry->fts_info == FTS_D ? '/' : '\0';
}

static int by_path(const FTSENT **a, const FTSENT **b)
{
    size_t common = (*a)->fts_namelen < (*b)->fts_namelen ? (*a)->fts_namelen : (*b)->fts_namelen;
    int order = memcmp((*a)->fts_name, (*b)->fts_name, common);
    return order != 0 ? order : byte_at(*a, common) - byte_at(*b, common);
}

/* FTS_NOCHDIR: the workers open what this thread finds, so nobody may change directory. */
FTS *tree_open(char *const *paths)
{
    return fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_path);
}

/* Links, pipes and devices are passed over inside the tree, but not where somebody named one. */
static const char *why_not(const FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return strerror(entry->fts_errno);
    case FTS_DC:
        return "directory loop";
    case FTS_SL:
    case FTS_SLNONE:
    case FTS_DEFAULT:
        return entry->fts_level == FTS_ROOTLEVEL ? "not a regular file or directory" : NULL;
    default:
        return NULL;
    }
}

const FTSENT *tree_next(FTS *tree, tree_error_fn *error)
{
    const FTSENT *entry;
    while ((entry = fts_read(tree)) != NULL && entry->fts_info != FTS_F) {
        const char *why = why_not(entry);
        if (why != NULL)
            error(entry->fts_path, why);
    }
    if (entry == NULL && errno != 0)
        error("reading directories", strerror(errno));
    return entry;
}

static void ignore(const char *path, const char *why)
{
    (void)path;
    (void)why;
}

uint64_t tree_size(char *const *paths)
{
    uint64_t size = 0;
    FTS *tree = tree_open(paths);
    const FTSENT *file;
    while (tree != NULL && (file = tree_next(tree, ignore)) != NULL)
        size += (uint64_t)file->fts_statp->st_size;
    if (tree != NULL)
        fts_close(tree);
    return size;
}
