#!/bin/sh
# SPDX-License-Identifier: MIT
# balance: with the lock nothing is lost. Without it what is lost is luck, but never less than 0.

. "${top_srcdir:-.}/t/examples/common.sh"
cd "$work" || exit 1

for tasks in 1 7 50; do
    expect_status 0 "$examples/balance" $tasks >output
    expected=$((tasks * 10000))
    grep -q "^with a lock:    $expected of $expected, 0 lost\$" output ||
        fail "the lock loses: $(cat output)"
    unlocked=$(sed -n "s/^without a lock: \([0-9]*\) of $expected, [0-9]* lost\$/\1/p" output)
    [ -n "$unlocked" ] || fail "nothing said of the race: $(cat output)"
    { [ "$unlocked" -ge 1 ] && [ "$unlocked" -le $expected ]; } ||
        fail "an impossible balance: $unlocked of $expected"
    [ $tasks -gt 1 ] || [ "$unlocked" -eq $expected ] || fail "one task races with itself"
done
expect_status 2 "$examples/balance" 0 2>/dev/null
echo "PASS: balance: $(tr '\n' ';' <output)"
