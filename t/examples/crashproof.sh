#!/bin/sh
# SPDX-License-Identifier: MIT
# crashproof: over a folder of real gzip files and of copies that were damaged on purpose, every good
# one is unpacked right, and every bad one is named with what its worker died of.

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
. "${top_srcdir:-.}/t/examples/common.sh"
need_example crashproof zlib
cd "$work" || exit 1
mkdir folder

# A wild write is a signal, unless AddressSanitizer sees it coming: then it reports it and leaves with
# a status of its own. Sanitizers need so much memory themselves that a limit can't be narrow, take
# their time to fill what is allocated, and have to be told that an allocation may fail.
limit=48
seconds=3
segv=SIGSEGV
segv_why='died of SIGSEGV'
case ${SANITIZER:-no} in
    *address*) limit=2048 seconds=8 segv="$segv\|failed" segv_why="$segv_why\|exited with status 1" ;;
    *thread*) limit=2048 seconds=8 ;;
esac
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}allocator_may_return_null=1
TSAN_OPTIONS=${TSAN_OPTIONS:+$TSAN_OPTIONS:}allocator_may_return_null=1
export ASAN_OPTIONS TSAN_OPTIONS

# The line for a good file. CRC and length are taken from what gzip makes of the same text again.
good_line() {
    # shellcheck disable=SC2046 # eight bytes, the lowest of each number first
    set -- "$1" $(gzip -dc "$1" | gzip -1 | tail -c 8 | od -An -tx1)
    printf '%s %10d  %s\n' "$5$4$3$2" "0x$9$8$7$6" "${1##*/}"
}

# Does the trailer tell of all that is in the file?
one_member() {
    [ "$(tail -c 8 "$1" | od -An -tx1)" = "$(gzip -dc "$1" | gzip -1 | tail -c 8 | od -An -tx1)" ]
}

# Headers of C are where this was compiled, and every file of this machine that gzip has made is
# welcome. One of several members is not for this decoder.
make_good() {
    find /usr/include -name '*.h' -type f -size -200k 2>/dev/null | sort | awk 'NR % 7 == 1' |
        head -n 80 >headers
    find /usr/share/doc /usr/share/man -name '*.gz' -type f -size -200k 2>/dev/null | sort |
        awk 'NR % 11 == 1' | head -n 40 >packed
    n=0
    while read -r file; do
        n=$((n + 1))
        gzip -c <"$file" >folder/header-$n.gz
    done <headers
    while read -r file; do
        n=$((n + 1))
        if one_member "$file"; then
            cp "$file" folder/packed-$n.gz
        fi
    done <packed
    cp folder/header-1.gz 'folder/a name with spaces.gz'
    : | gzip >folder/nothing.gz
    head -c 300000 /dev/urandom | gzip >folder/noise.gz
    for file in folder/*; do
        good_line "$file"
    done >good
    [ "$(wc -l <good)" -ge 20 ] || fail "too few files to test with"
}

# overwrite FILE OFFSET BYTES, those in printf's octal escapes.
overwrite() {
    # shellcheck disable=SC2059 # the bytes are meant as a format
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none || exit 1
}

# with_extra OF FIELD: a copy of a file without a name in it gets an extra field.
with_extra() {
    # shellcheck disable=SC2059
    printf '\037\213\010\004\000\000\000\000\000\003'"$2"
    tail -c +11 "$1"
}

# bad NAME VERDICT WHY: a file that is in the folder, and what is to be said of it.
bad() {
    [ -f "folder/$1" ] || fail "$1 was not made"
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>bad
}

make_bad() {
    gzip -n -c <"$self" >plain.gz
    size=$(wc -c <plain.gz)
    for n in 1 2 3; do
        cp plain.gz folder/length-$n.gz
        overwrite folder/length-$n.gz $((size - 4)) '\377\377\377\377'
        bad length-$n.gz "$segv" "$segv_why"
        cp plain.gz folder/method-$n.gz
        overwrite folder/method-$n.gz 2 '\000'
        bad method-$n.gz SIGABRT 'died of SIGABRT'
    done
    with_extra plain.gz '\004\000XY\374\377' >folder/endless-1.gz
    with_extra plain.gz '\010\000XY\000\000XY\370\377' >folder/endless-2.gz
    bad endless-1.gz SIGTERM .
    bad endless-2.gz SIGTERM .

    head -c 10 plain.gz >folder/cut-header.gz
    bad cut-header.gz damaged 'too short'
    head -c $((size / 2)) plain.gz >folder/cut-data.gz
    bad cut-data.gz damaged 'does not have the length\|no memory'
    with_extra plain.gz '\377\377XY' >folder/cut-extra.gz
    bad cut-extra.gz damaged 'header is cut off'
    cp plain.gz folder/sum.gz
    overwrite folder/sum.gz $((size - 8)) 'WRON'
    bad sum.gz damaged 'checksum'
    cp plain.gz folder/large.gz
    overwrite folder/large.gz $((size - 4)) '\000\000\000\360'
    bad large.gz damaged 'no memory'
    cp "$self" folder/text.gz
    bad text.gz damaged 'not a gzip file'
    mkdir folder/folder.gz
    printf 'folder.gz\tdamaged\tIs a directory\n' >>bad

    # A bomb: its trailer is honest, it is only more than a worker may take.
    if [ $limit -lt 64 ]; then
        head -c 67108864 /dev/zero | gzip -1 >folder/bomb.gz
        bad bomb.gz damaged 'no memory'
    fi
}

# Each file has one line, in the order of names, and the last line has the sums.
has_all() {
    sed '$d' output | sed -n 's/^[0-9a-f]\{8\} \{1,10\}[0-9]*  //p; s/^\([^:]*\): .*/\1/p' >names
    (cd folder && printf '%s\n' *) | cmp - names || fail "$1: not every file once: $(cat output)"
    sort good >expected
    grep '^[0-9a-f]\{8\} ' output | sort | cmp - expected || fail "$1: good files: $(cat output)"
    while IFS='	' read -r name verdict why; do
        grep -q "^$name: \($verdict\): .*\($why\)" output ||
            fail "$1: $name is not '$verdict: $why': $(grep "^$name" output)"
    done <bad
    crashed=$(grep -c '^length\|^method' bad)
    damaged=$(grep -c '	damaged	' bad)
    grep -q "^$(wc -l <names) files in [0-9.]* s: $(wc -l <good) decoded, $damaged damaged,\
 $crashed crashed, 2 timed out; it took [0-9]* workers\$" output ||
        fail "$1: the sums: $(tail -n 1 output)"
}

# A dead worker's message says which it was and what it was at.
names_the_dead() {
    grep '^length-1' output | grep -q "worker [0-9][0-9]* .*length-1.gz" ||
        fail "$1: nothing of worker and task: $(grep '^length-1' output)"
}

make_good
: >bad
make_bad
for method in $methods; do
    expect_status 0 "$examples/crashproof" -j 3 -t $seconds -m $limit --start="$method" folder \
        >output 2>errors
    has_all "$method"
    names_the_dead "$method"
    [ "$(grep -c 'there is no other method' errors)" -eq 3 ] ||
        fail "$method: not three assertions: $(cat errors)"
    echo "$method: $(tail -n 1 output)"
done

mkdir empty
expect_status 0 "$examples/crashproof" empty >output
grep -q '^0 files in .*: 0 decoded, 0 damaged, 0 crashed, 0 timed out; it took 0 workers$' output ||
    fail "an empty folder: $(cat output)"
expect_status 1 "$examples/crashproof" missing >output 2>errors
grep -q 'crashproof: missing: No such file or directory' errors || fail "missing is not named"
expect_status 1 "$examples/crashproof" empty >/dev/full 2>errors
for wrong in '' 'empty empty' '-t 0 empty' '-m x empty' '--start=thread empty' '-x empty'; do
    # shellcheck disable=SC2086 # several arguments
    expect_status 2 "$examples/crashproof" $wrong >/dev/null 2>&1
done
echo "PASS: crashproof: $(wc -l <good) good files and $(wc -l <bad) bad ones, three ways"
