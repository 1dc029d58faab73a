#!/bin/sh
# SPDX-License-Identifier: MIT
# pack: what it writes is gzip, holds what was put in, and is about as small as gzip makes it.

. "${top_srcdir:-.}/t/examples/common.sh"
need_example pack zlib
cd "$work" || exit 1

# round_trip FILE NAME [OPTION...] packs a file from standard input; NAME is for messages.
round_trip() {
    file=$1
    name=$2
    shift 2
    expect_status 0 "$examples/pack" "$@" <"$file" >packed.gz
    gzip -t packed.gz || fail "$name: not a gzip file"
    gzip -dc packed.gz >unpacked || fail "$name: gzip can't unpack it"
    same "$file" unpacked "$name: not what was packed"
}

# Real input: C headers in a tar archive, of which there are some wherever this was compiled.
tar -cf headers.tar -C /usr/include linux 2>/dev/null || tar -cf headers.tar -C /usr include
[ "$(wc -c <headers.tar)" -gt 1000000 ] || fail "too few headers to test with"

for workers in 1 2 5; do
    SOON_MAX_WORKERS=$workers
    export SOON_MAX_WORKERS
    round_trip headers.tar "headers, $workers workers"
done
cp packed.gz headers.gz
unset SOON_MAX_WORKERS

# Neither the kind of pool nor the number of workers changes a byte.
for method in $methods; do
    for workers in 1 3; do
        round_trip headers.tar "headers, $method, $workers workers" --start="$method" -j $workers
        same headers.gz packed.gz "$method, $workers workers: not what threads make of it"
    done
    round_trip /dev/null "nothing, $method" --start="$method"
done

# Blocks that know what came before them cost next to nothing.
ours=$(wc -c <headers.gz)
theirs=$(gzip -6 -c headers.tar | wc -c)
[ $((ours * 100)) -lt $((theirs * 102)) ] || fail "$ours bytes where gzip takes $theirs"

# The edges of a block (131072 bytes), nothing at all, and what does not compress.
for size in 0 1 131071 131072 131073 1000000; do
    head -c $size /dev/urandom >input
    round_trip input "$size random bytes"
done
head -c 5000000 /dev/zero >input
round_trip input "zeros"

# Through a pipe that delivers as it likes, reads are short.
{
    head -c 100000 headers.tar
    sleep 0.1
    tail -c +100001 headers.tar
} | "$examples/pack" | gzip -dc | cmp - headers.tar || fail "through a pipe"

# Files are one stream, as with cat.
: >empty
expect_status 0 "$examples/pack" headers.tar empty input headers.tar >packed.gz
cat headers.tar empty input headers.tar >all
gzip -dc packed.gz | cmp - all || fail "several files"

# What fails says so, and does not look like a whole file.
expect_status 1 "$examples/pack" headers.tar missing >packed.gz 2>errors
grep -q 'missing: No such file or directory' errors || fail "a missing file is not named"
expect_status 1 gzip -t packed.gz 2>/dev/null
expect_status 1 "$examples/pack" . >packed.gz 2>errors
grep -q 'pack: \.: Is a directory' errors || fail "a directory is not refused"
expect_status 1 "$examples/pack" headers.tar >/dev/full 2>errors
grep -q 'not complete' errors || fail "a full output goes unnoticed"
expect_status 1 "$examples/pack" --processes headers.tar >/dev/full 2>errors
grep -q 'not complete' errors || fail "a full output goes unnoticed with processes"
expect_status 2 "$examples/pack" -j 0 headers.tar >/dev/null 2>&1

echo "PASS: pack: $(wc -c <headers.tar) bytes of headers to $ours (gzip -6: $theirs)"
