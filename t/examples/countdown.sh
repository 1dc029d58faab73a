#!/bin/sh
# SPDX-License-Identifier: MIT
# countdown: every way of counting takes the same number of steps, and the tables are consistent.

. "${top_srcdir:-.}/t/examples/common.sh"
cd "$work" || exit 1

# has_table KINDS: the three rows below the serial one are of those.
has_table() {
    cat table
    awk -v kinds="$1" '
        NR == 1 { if ($0 !~ /steps +seconds +speed-up/) exit bad = 1; next }
        /^CPUs/ { cpus = $NF; next }
        {
            names = names $1 (NF == 5 ? $2 : "") " "
            if ($(NF - 2) != 8000000) { print "steps: " $0; exit bad = 1 }
            if ($(NF - 1) <= 0) { print "time: " $0; exit bad = 1 }
            if (NR == 2) serial = $(NF - 1)
            # Both columns are rounded.
            ratio = serial / $(NF - 1)
            if ($NF < 0.8 * ratio - 0.1 || $NF > 1.25 * ratio + 0.1) { print "ratio: " $0; exit bad = 1 }
        }
        END {
            if (bad) exit 1
            if (names != "serial " kinds) { print "rows: " names; exit 1 }
            if (cpus < 1) { print "CPUs: " cpus; exit 1 }
        }
    ' table || fail "the table is wrong"
}

expect_status 0 "$examples/countdown" 8 >table
has_table '1thread 2threads 4threads '
for method in $methods; do
    expect_status 0 "$examples/countdown" --start="$method" 8 >table
    has_table '1process 2processes 4processes '
done
expect_status 2 "$examples/countdown" 0 2>/dev/null
expect_status 2 "$examples/countdown" -j 2 2>/dev/null
echo "PASS: countdown"
