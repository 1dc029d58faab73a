#!/bin/sh
# SPDX-License-Identifier: MIT
# counter: no increment is lost, all workers take part, and the program's own memory stays its own.

. "${top_srcdir:-.}/t/examples/common.sh"
cd "$work" || exit 1

# counts INCREMENTS WORKERS OPTION...
counts() {
    increments=$1
    workers=$2
    shift 2
    expect_status 0 "$examples/counter" "$@" "$increments" >output
    echo "$increments increments by $workers processes:" \
        "$increments in shared memory, 0 in the program's own" | cmp - output ||
        fail "$*: $(cat output)"
}

# Five by three are what it does when it is told nothing.
expect_status 0 "$examples/counter" >default
counts 5 3
same default output "not five by three"

for method in $methods; do
    counts 5 3 --start="$method"
    counts 1 1 --start="$method" -j 1
    counts 2000 7 --start="$method" -j 7
done
for wrong in '-j 3 2' '-p' '-j 0' '10001'; do
    # shellcheck disable=SC2086 # several arguments
    expect_status 2 "$examples/counter" $wrong >/dev/null 2>&1
done
echo "PASS: $(cat default)"
