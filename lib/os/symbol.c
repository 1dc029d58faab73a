/* SPDX-License-Identifier: MIT */
/*
 * Of an object in memory only the dynamic symbols are there, and only their
 * hash table says how many they are. It is meant for the way from a name to an
 * address; the way back goes through all of it.
 */
#include "os/symbol.h"

#include <stdio.h>
#include <string.h>

/* Part of a readable segment. */
struct table {
    const unsigned char *at;
    size_t len; /* to the segment's end */
};

/* The dynamic section has addresses, which some C libraries have made absolute
 * and some have not. */
static bool find_table(const struct dl_phdr_info *object, uintptr_t address, struct table *table)
{
    uintptr_t base = object->dlpi_addr, at = address < base ? base + address : address;
    const soon__segment *segment = soon__segment_at(object, PF_R, at, 1);

    if (!segment)
        return false;
    table->at = (const unsigned char *)at;
    table->len = soon__segment_start(object, segment) + segment->p_memsz - at;
    return true;
}

/* Item number i of the given size; false past the end. */
static bool read_item(const struct table *table, size_t i, void *item, size_t size)
{
    if (i >= table->len / size)
        return false;
    memcpy(item, table->at + i * size, size);
    return true;
}

struct symbols {
    struct table symbols, names;
    struct table buckets, chain; /* of the hash table */
    uint32_t n_buckets, first;   /* the first symbol that is in the chain */
};

/* The hash table: four words, the words of a Bloom filter, one word a bucket
 * with the number of its first symbol, and a chain with one word a symbol,
 * odd for the last one of a bucket. */
static bool split_hash(const struct table *hash, struct symbols *symbols)
{
    uint32_t head[4];

    if (!read_item(hash, 0, head, sizeof head))
        return false;
    uint64_t buckets = sizeof head + (uint64_t)head[2] * sizeof(ElfW(Addr));
    uint64_t chain = buckets + (uint64_t)head[0] * sizeof(uint32_t);
    if (chain > hash->len)
        return false;
    symbols->n_buckets = head[0];
    symbols->first = head[1];
    symbols->buckets = (struct table){hash->at + buckets, hash->len - (size_t)buckets};
    symbols->chain = (struct table){hash->at + chain, hash->len - (size_t)chain};
    return true;
}

static bool find_symbols(const struct dl_phdr_info *object, struct symbols *symbols)
{
    struct table dynamic = {0}, hash = {0};
    ElfW(Dyn) entry;

    memset(symbols, 0, sizeof *symbols);
    for (size_t i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_DYNAMIC &&
            !find_table(object, soon__segment_start(object, &object->dlpi_phdr[i]), &dynamic))
            return false;
    for (size_t i = 0; read_item(&dynamic, i, &entry, sizeof entry) && entry.d_tag != DT_NULL; i++)
        if ((entry.d_tag == DT_SYMTAB &&
             !find_table(object, entry.d_un.d_ptr, &symbols->symbols)) ||
            (entry.d_tag == DT_STRTAB && !find_table(object, entry.d_un.d_ptr, &symbols->names)) ||
            (entry.d_tag == DT_GNU_HASH && !find_table(object, entry.d_un.d_ptr, &hash)))
            return false;
    return symbols->symbols.at && symbols->names.at && hash.at && split_hash(&hash, symbols);
}

/* Does symbol number i begin at offset? Then its name is copied. */
static bool is_symbol(const struct symbols *symbols, size_t i, uint64_t offset, char *name,
                      size_t size)
{
    ElfW(Sym) symbol;

    /* ELF32_ST_TYPE() is the same. */
    if (!read_item(&symbols->symbols, i, &symbol, sizeof symbol) || symbol.st_value != offset ||
        symbol.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
        symbol.st_name >= symbols->names.len)
        return false;
    size_t room = symbols->names.len - symbol.st_name;
    snprintf(name, size, "%.*s", (int)(room < size ? room : size),
             (const char *)symbols->names.at + symbol.st_name);
    return true;
}

void soon__symbol_at(const struct dl_phdr_info *object, uint64_t offset, char *name, size_t size)
{
    struct symbols symbols;
    uint32_t i, link;

    *name = '\0';
    if (!find_symbols(object, &symbols))
        return;
    for (size_t bucket = 0; bucket < symbols.n_buckets; bucket++) {
        if (!read_item(&symbols.buckets, bucket, &i, sizeof i) || i < symbols.first)
            continue;
        do {
            if (is_symbol(&symbols, i, offset, name, size))
                return;
            if (!read_item(&symbols.chain, i - symbols.first, &link, sizeof link))
                return;
            i++;
        } while (!(link & 1));
    }
}
