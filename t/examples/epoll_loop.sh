#!/bin/sh
# SPDX-License-Identifier: MIT
# epoll_loop: every result, in the main thread, and no more wake-ups than there were events.

. "${top_srcdir:-.}/t/examples/common.sh"
cd "$work" || exit 1

cat >expected <<'END'
5 results
1229 primes below 10000, seen in the main thread
2262 primes below 20000, seen in the main thread
3245 primes below 30000, seen in the main thread
4203 primes below 40000, seen in the main thread
5133 primes below 50000, seen in the main thread
END

# computes OPTION...: on such a pool.
computes() {
    expect_status 0 "$examples/epoll_loop" "$@" 5 >output
    sort -n output | sed 's/^\(5 results\),.*/\1/' | cmp - expected ||
        fail "wrong results $*: $(cat output)"
    tail -n 1 output | sed 's/[^0-9 ]//g' | {
        read -r results ticks wakeups nothing
        [ "$ticks" -ge 5 ] || fail "the timer was held up $*: $ticks ticks"
        [ "$wakeups" -le $((results + ticks)) ] || fail "it polls $*: $(tail -n 1 output)"
        [ "$nothing" -eq 0 ] || fail "readable without work $*: $(tail -n 1 output)"
    } || exit 1
}

computes -j 2
for method in $methods; do
    computes --start="$method" -j 2
done
last=$(tail -n 1 output)

# With no results to come only the timer is left, and it ends as well.
expect_status 0 "$examples/epoll_loop" 0 >output
grep -q '^0 results, 5 ticks, woken 5 times, 0 for nothing$' output || fail "idle: $(cat output)"
expect_status 2 "$examples/epoll_loop" -x 2>/dev/null
echo "PASS: epoll_loop: $last"
