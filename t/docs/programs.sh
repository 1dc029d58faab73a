#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the documents show works: every complete program in README.md and in the
# manual pages is compiled as printed, without a warning, against the library
# just built; it runs, exits with 0, and prints what the text says it prints.
set -eu

top=${top_srcdir:-.}
build=${top_builddir:-.}
scripts=$top/t/docs
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A library built with a sanitizer wants it in the program as well, but for what
# would see a crash on purpose coming.
case ${SANITIZER:-no} in
no) cflags=-g link= ;;
*) cflags="-g -fsanitize=$SANITIZER -fno-sanitize=bounds,object-size" link=$SANITIZER_LINK ;;
esac

# Some of them crash on purpose, and a sanitizer would turn a signal into an exit
# status.
# shellcheck disable=SC3045
ulimit -c 0
export ASAN_OPTIONS="${ASAN_OPTIONS-}:handle_segv=0"
export TSAN_OPTIONS="${TSAN_OPTIONS-}:handle_segv=0"

programs=0
failures=0

fail()
{
    echo "FAIL: $1: $2"
    [ ! -s "$work/log" ] || sed 's/^/    /' "$work/log"
    failures=$((failures + 1))
}

# build_program NAME: compiles and links $work/NAME.c.
build_program()
{
    # shellcheck disable=SC2086
    $cc -std=gnu11 -Wall -Wextra -Werror $cflags -pthread -I"$top/include" \
        -c "$work/$1.c" -o "$work/$1.o" >"$work/log" 2>&1 &&
        "${SHELL:-/bin/sh}" "$build/libtool" --silent --tag=CC --mode=link \
            $cc $cflags -pthread -no-install -o "$work/$1" "$work/$1.o" $link \
            "$build/lib/libsoon.la" >>"$work/log" 2>&1
}

run_program()
{
    status=0
    timeout 120 "$work/$1" >"$work/out" 2>"$work/log" || status=$?
    if [ "$status" -ne 0 ]; then
        fail "$1" "exits with $status"
    elif [ -f "$work/$1.expected" ] && ! diff -u "$work/$1.expected" "$work/out" >"$work/log"; then
        fail "$1" 'does not print what the text says'
    else
        echo "ok: $1"
    fi
}

# check_document FILE AWK-OPTION...
check_document()
{
    file=$1
    shift
    name=$(basename "$file")
    n=$(awk "$@" -v prefix="$work/$name" -f "$scripts/programs.awk" "$file")
    programs=$((programs + n))
    i=0
    while [ "$i" -lt "$n" ]; do
        i=$((i + 1))
        if build_program "$name-$i"; then
            run_program "$name-$i"
        else
            fail "$name-$i" 'does not compile'
        fi
    done
}

# A document with one good program and three bad ones, of which three must fail.
check_checks()
{
    cat >"$work/planted.md" <<'END'
It prints:
```c
int main(void) { int unused; return 0; }
```
```c
int main(void) { return 1; }
```
```c
#include <stdio.h>
int main(void) { return puts("this") < 0; }
```
It prints:
```
that
```
```c
#include <stdio.h>
int main(void) { return puts("this") < 0; }
```
It prints:
```
this
```
END
    found=$(check_document "$work/planted.md" -v markdown=1 | grep -c '^FAIL: ')
    [ "$found" -eq 3 ] || fail 'this test' "finds $found of 3 planted defects"
}

check_document "$top/README.md" -v markdown=1
if [ "$programs" -eq 0 ] || [ ! -f "$work/README.md-1.expected" ]; then
    fail README.md 'shows no program, or does not say what it prints'
fi
for page in "$top"/doc/*.[37]; do
    check_document "$page" -v markdown=0
done
if [ "$programs" -lt 20 ]; then
    fail 'the manual pages' "only $programs programs found: the extraction is broken"
fi
check_checks

[ "$failures" -ne 0 ] || echo "PASS: $programs programs compile, run and print what the text says"
[ "$failures" -eq 0 ]
