#!/bin/sh
# SPDX-License-Identifier: MIT
# backend: the newest first, a wait that runs in place, a cancelled one left out, a clean end.

. "${top_srcdir:-.}/t/examples/common.sh"
cd "$work" || exit 1

cat >expected <<'END'
2 is cancelled: yes
thumbnail cover
thumbnail album
thumbnail 4
thumbnail 3
thumbnail 1
after shutdown: Cannot send after transport endpoint shutdown
lifo: 6 finished, 1 cancelled, 1 in place
END
runs=0
while [ $runs -lt 20 ]; do
    expect_status 0 "$examples/backend" >output
    cmp output expected || fail "$(cat output)"
    runs=$((runs + 1))
done
echo "PASS: backend: the same $runs times"
