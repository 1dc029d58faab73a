#!/bin/sh
# SPDX-License-Identifier: MIT
#
# CONTRIBUTING.md's map of the house names every file of lib/ and nothing that
# is not there, and the links between the documents lead somewhere.
set -eu

top=${top_srcdir:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail()
{
    echo "FAIL: $*"
    failures=$((failures + 1))
}

# A map's line is `- \`path\` - what it is`, paths from the top; a pair of
# source and header is written `path.[ch]`.
# shellcheck disable=SC2016
sed -n 's/^- `\(lib\/[^`]*\.[^`]*\)`.*/\1/p' "$top/CONTRIBUTING.md" >"$work/lines"
while read -r path; do
    case $path in
    *'.[ch]') printf '%s.c\n%s.h\n' "${path%.\[ch\]}" "${path%.\[ch\]}" ;;
    *) echo "$path" ;;
    esac
done <"$work/lines" | sort >"$work/named"
(cd "$top" && find lib -name '*.[ch]' -type f) | sort >"$work/there"

comm -13 "$work/named" "$work/there" >"$work/unnamed"
comm -23 "$work/named" "$work/there" >"$work/gone"
while read -r path; do
    fail "$path is not in the map of CONTRIBUTING.md"
done <"$work/unnamed"
while read -r path; do
    fail "the map of CONTRIBUTING.md names $path, which is not there"
done <"$work/gone"
files=$(wc -l <"$work/there")
[ "$files" -gt 0 ] || fail 'no files found in lib/'

for document in "$top"/*.md "$top"/doc/*.md; do
    sed 's/](/\n](/g' "$document" | sed -n 's/^](\([^)#]*\).*/\1/p' >"$work/links"
    while read -r link; do
        case $link in
        '' | http://* | https://* | mailto:*) ;;
        *) [ -e "$(dirname "$document")/$link" ] || fail "$document: $link is not there" ;;
        esac
    done <"$work/links"
done

[ "$failures" -ne 0 ] || echo "PASS: the map names all $files files of lib/, no link is broken"
[ "$failures" -eq 0 ]
