#!/bin/sh
# SPDX-License-Identifier: MIT
# crawl against a server on the loopback: pages, a missing one, a slow one, a refused connection.

. "${top_srcdir:-.}/t/examples/common.sh"
need_example crawl libcurl
cd "$work" || exit 1
unset http_proxy HTTP_PROXY ALL_PROXY all_proxy
no_proxy='*'
export no_proxy

mkfifo ports
"$t_examples/http_server" >ports &
server=$!
read -r port refused <ports || fail "the server does not start"
base=http://127.0.0.1:$port

# The slow page comes first and must hold up none of the others.
expect_status 1 "$examples/crawl" -j 4 -t 3 "$base/slow" "$base/bytes/0" "$base/bytes/10" \
    "$base/bytes/1000000" "$base/missing" "http://127.0.0.1:$refused/" "nonsense://x/" >output

expect_line() {
    grep -q "$1" output || fail "no line '$1' in: $(cat output)"
}
expect_line "^200        0 bytes  $base/bytes/0\$"
expect_line "^200       10 bytes  $base/bytes/10\$"
expect_line "^200  1000000 bytes  $base/bytes/1000000\$"
expect_line "^failed  $base/missing: .*404"
expect_line "^failed  http://127.0.0.1:$refused/: .*[Cc]onnect"
expect_line "^failed  nonsense://x/: .*[Pp]rotocol"
expect_line "^failed  $base/slow: .*timed out"
expect_line "^3 fetched, 4 failed\$"
[ "$(wc -l <output)" -eq 8 ] || fail "more lines than URLs: $(cat output)"
tail -n 2 output | head -n 1 | grep -q "/slow" || fail "the slow page is not the last"

# Many more URLs than workers, each of them once.
i=0
while [ $i -lt 200 ]; do
    echo "$base/bytes/$i"
    i=$((i + 1))
done >urls
xargs "$examples/crawl" -j 8 -t 20 <urls >output || fail "200 pages: $(tail -n 3 output)"
expect_line '^200 fetched, 0 failed$'
sed -n 's/^200 .* bytes  //p' output | sort >fetched
sort urls | cmp - fetched || fail "not every URL once"

expect_status 2 "$examples/crawl" >/dev/null 2>&1
expect_status 2 "$examples/crawl" -t 0 "$base/" >/dev/null 2>&1
echo "PASS: crawl: 203 pages, and four ways to fail"
