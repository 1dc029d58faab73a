#!/bin/sh
# SPDX-License-Identifier: MIT
# checksum against sha256sum, which is the authority on its own format.

. "${top_srcdir:-.}/t/examples/common.sh"
need_example checksum libcrypto
cd "$work" || exit 1

# What sha256sum says of every regular file below some paths, sorted by path.
reference() {
    find "$@" -type f -print0 | sort -z | xargs -0 sha256sum
}

make_tree() {
    mkdir -p tree/a/deep/er tree/empty tree/b
    newline='new
line'
    return_=$(printf 'carriage\rreturn')
    printf 'not utf-8' >"tree/$(printf 'latin\351')"
    # shellcheck disable=SC1003,SC2016 # the names are meant as they are
    for name in a.c a0 a/b a/b.c a/deep/er/file ' space ' -dash 'back\slash' "$newline" "$return_" \
        '\\' 'tab	' '*' '$(rm)' 'quote"' .hidden; do
        printf '%s' "$name" >"tree/$name"
    done
    : >tree/zero
    head -c 3000000 /dev/zero >tree/b/large
    head -c 65536 /dev/urandom >tree/b/one-buffer
    head -c 65537 /dev/urandom >tree/b/and-a-byte
    i=0
    while [ $i -lt 2500 ]; do # more than a window
        echo "$i" >"tree/b/$i"
        i=$((i + 1))
    done
    ln -s b/large tree/link
    ln -s nowhere tree/dangling
    ln -s .. tree/b/up
    mkfifo tree/fifo
}

agrees() {
    reference tree >all
    for workers in 1 2 7; do
        expect_status 0 "$examples/checksum" -j $workers tree >sums 2>errors
        same all sums "$workers workers disagree with sha256sum"
        [ ! -s errors ] || fail "something on stderr: $(cat errors)"
    done
    for pool in --processes $method_options; do
        for workers in 1 3; do
            expect_status 0 "$examples/checksum" "$pool" -j $workers tree >sums 2>errors
            same all sums "$pool, $workers workers disagree with sha256sum"
            [ ! -s errors ] || fail "$pool: something on stderr: $(cat errors)"
        done
    done
    [ "$(wc -l <sums)" -eq "$(find tree -type f -printf '\n' | wc -l)" ] || fail "wrong number"
    sha256sum -c --quiet --strict sums || fail "sha256sum does not accept the output"
}

# Paths of a command line are sorted as those in a tree are; one can be a file.
several_paths() {
    reference tree/a tree/a.c tree/b >expected
    expect_status 0 "$examples/checksum" tree/b tree/a.c tree/a >sums
    same expected sums "three paths"
    expect_status 0 "$examples/checksum" tree/empty >sums
    [ ! -s sums ] || fail "an empty directory has lines"
}

# What can't be read is named and costs nothing else. Even root gets an error from /proc/self/mem.
reports_unreadable() {
    reference tree/a >expected
    expect_status 1 "$examples/checksum" "$@" tree/a "$work/missing" /proc/self/mem tree/link >sums 2>errors
    same expected sums "unreadable files cost others"
    grep -q "$work/missing: No such file or directory" errors || fail "missing is not named"
    grep -q "/proc/self/mem: Input/output error" errors || fail "/proc/self/mem is not named"
    grep -q "tree/link: not a regular file" errors || fail "a link on the command line is not named"
    [ "$(wc -l <errors)" -eq 3 ] || fail "more errors than three: $(cat errors)"
}

# Root reads everything, unless it gives up the capability.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --bounding-set=-dac_override,-dac_read_search "$@"
    else
        "$@"
    fi
}

reports_forbidden() {
    mkdir -p locked/dir
    echo file >locked/file
    echo open >locked/open
    echo hidden >locked/dir/hidden
    chmod 000 locked/file locked/dir
    if unprivileged cat locked/file 2>/dev/null; then
        echo "note: permissions do not bind this user, forbidden files are not tested"
        return
    fi
    sha256sum locked/open >expected
    expect_status 1 unprivileged "$examples/checksum" locked >sums 2>errors
    same expected sums "forbidden files cost others"
    grep -q 'checksum: locked/file: Permission denied' errors || fail "the file is not named"
    grep -q 'checksum: locked/dir: Permission denied' errors || fail "the directory is not named"
}

# A bar where stderr is a terminal, and lines that are the same all the same.
draws_bar() {
    script -qec "'$examples/checksum' $* tree >sums" typescript >/dev/null ||
        fail "checksum on a terminal"
    same all sums "output beside a terminal"
    grep -q '\[=* *\] *[0-9]*%  [0-9.]* MB/s  ETA [0-9]*:[0-9][0-9]' typescript ||
        fail "there is no bar: $(cat -v typescript)"
    grep -q '=\] 100%  ' typescript || fail "the bar does not come to its end: $(cat -v typescript)"
}

refuses() {
    for options in '-j 0' '-j x' '-j 3x' '-x' '--start=thread' '--start'; do
        # shellcheck disable=SC2086 # an option and its argument
        expect_status 2 "$examples/checksum" $options tree/a.c >/dev/null 2>&1
    done
    expect_status 2 "$examples/checksum" >/dev/null 2>&1
}

# Stops at once, and says so, where its lines can't be written.
reports_full_output() {
    expect_status 1 "$examples/checksum" "$@" tree >/dev/full 2>errors
    grep -q 'standard output: write error' errors || fail "a full output goes unnoticed"
}

method_options=
for method in $methods; do
    method_options="$method_options --start=$method"
done

make_tree
agrees
several_paths
for pool in -j2 $method_options; do
    reports_unreadable "$pool"
    draws_bar "$pool"
    reports_full_output "$pool"
done
reports_forbidden
refuses
echo "PASS: checksum agrees with sha256sum on $(wc -l <all) files"
