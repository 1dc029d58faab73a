# shellcheck shell=sh disable=SC2034
# SPDX-License-Identifier: MIT
#
# What the tests of the examples share. To be sourced; needs top_builddir, or the build directory
# as the working directory.

set -u
LC_ALL=C
export LC_ALL

examples=$(cd "${top_builddir:-.}/examples" && pwd) || exit 1
t_examples=$(cd "${top_builddir:-.}" && pwd)/t/examples
work=$(mktemp -d "${TMPDIR:-/tmp}/soon-example.XXXXXX") || exit 1
server=

# How worker processes come to be: an example's --start.
methods='forkserver fork spawn'

clean_up() {
    [ -z "$server" ] || kill "$server"
    chmod -R u+rwx "$work"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# What a test says goes past the files into which it directs its commands.
exec 3>&2

fail() {
    echo "FAIL: $*" >&3
    exit 1
}

# An example is built if its library is there; configure says which ones are not.
need_example() {
    [ -x "$examples/$1" ] && return
    echo "SKIP: examples/$1 was not built, for want of $2"
    exit 77
}

# Runs a command and compares its exit status with the first argument.
expect_status() {
    expected=$1
    shift
    status=0
    "$@" || status=$?
    [ "$status" -eq "$expected" ] || fail "status $status instead of $expected: $*"
}

same() {
    cmp "$1" "$2" || fail "$3"
}
