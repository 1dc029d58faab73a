#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual pages and the public headers say the same: every SOON_API
# function has a page whose SYNOPSIS declares it with the header's prototype;
# every declaration that a page shows is the header's; names, links, lists and
# cross-references are complete. Then the same checks are run over copies of
# the pages with one defect each, which they must find.
set -eu

LC_ALL=C
export LC_ALL
top=${top_srcdir:-.}
scripts=$top/t/docs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# declarations AWK-OPTION...: those of stdin, sorted.
declarations()
{
    awk "$@" -f "$scripts/declarations.awk" | sort
}

# names_of PAGE...: what the NAME sections name, sorted.
names_of()
{
    awk '/^\.Sh/ { name = /NAME$/ } name && /^\.Nm/ { print $2 }' "$@" | sort
}

# complain TEXT: each line of stdin is a fault of this kind. A pipeline ends in
# a subshell, so that faults are kept in a file.
complain()
{
    sed "s|^|$1: |" >>"$work/faults"
}

# complain_difference WANTED THERE WHAT: both are sorted files.
complain_difference()
{
    comm -23 "$1" "$2" | complain "$3 lacks"
    comm -13 "$1" "$2" | complain "$3 has one too many"
}

# A page shows only what the headers declare, names exactly the functions it
# declares, and refers only to pages that exist.
check_page()
{
    awk -f "$scripts/page.awk" "$2" >"$work/page.h"
    declarations <"$work/page.h" >"$work/shown"
    declarations -v api=1 <"$work/page.h" >"$work/shown-functions"
    comm -13 "$work/declared" "$work/shown" | complain "$2: no header declares"
    case $2 in *.3)
        names_of "$2" >"$work/names"
        complain_difference "$work/shown-functions" "$work/names" "$2: NAME"
    esac
    awk '$1 == ".Xr" && $2 ~ /^soon/ { print $2 "." $3 }' "$2" | sort -u >"$work/references"
    while read -r reference; do
        [ -f "$1/$reference" ] || [ -f "$1/links/$reference" ] || echo "$reference"
    done <"$work/references" | complain "$2: there is no page"
}

# Every function has one page, which man finds under the function's name, is
# in the list of soon.7, and every file is installed.
check_tree()
{
    names_of "$1"/*.3 >"$work/names"
    complain_difference "$work/functions" "$work/names" 'the pages together: NAME'

    for page in "$1"/*.3; do
        file=${page##*/}
        for name in $(names_of "$page"); do
            echo "links/$name.3 .so man3/$file"
        done | grep -v "^links/$file " || :
    done | sort >"$work/links-wanted"
    (cd "$1" && grep -H '' links/*.3 | sed 's/:/ /' | sort) >"$work/links-there"
    complain_difference "$work/links-wanted" "$work/links-there" 'doc/links'

    awk '/^\.Ss The calls/ { list = 1; next } /^\.S[hs]/ { list = 0 }
         list && $1 == ".Xr" && $3 == 3 { print $2 }' "$1/soon.7" | sort >"$work/listed"
    complain_difference "$work/functions" "$work/listed" 'the list of soon.7'

    (cd "$1" && ls -- *.[37] links/*.3) | sed 's|^|doc/|' | sort >"$work/files"
    sed -n 's|^\t\(doc/[a-z_/]*\.[37]\).*|\1|p' "$1/Local.mk" | sort >"$work/installed"
    complain_difference "$work/files" "$work/installed" 'dist_man_MANS of doc/Local.mk'
}

# must_find WHAT FILE COMMAND...: after the command has changed FILE of a copy
# of the pages, the checks find it.
must_find()
{
    what=$1
    changed=$work/doc/$2
    shift 2
    rm -rf "$work/doc"
    cp -R "$top/doc" "$work/doc"
    chmod -R u+w "$work/doc"
    "$@" "$changed"
    : >"$work/faults"
    case $changed in "$work"/doc/soon*)
        [ ! -f "$changed" ] || check_page "$work/doc" "$changed"
    esac
    check_tree "$work/doc"
    planted=$((planted + 1))
    [ -s "$work/faults" ] || echo "the checks do not notice $what" >>"$work/blind"
}

cat "$top"/include/soon/*.h | declarations >"$work/declared"
cat "$top"/include/soon/*.h | declarations -v api=1 >"$work/functions"
count=$(wc -l <"$work/functions")
if [ "$count" -lt 20 ]; then
    echo "only $count functions found in the headers: the extraction is broken"
    exit 1
fi

: >"$work/faults"
for page in "$top"/doc/*.[37]; do
    check_page "$top/doc" "$page"
done
check_tree "$top/doc"
if [ -s "$work/faults" ]; then
    cat "$work/faults"
    exit 1
fi

planted=0
: >"$work/blind"
must_find 'a changed argument' soon_submit.3 sed -i 's/size_t arg_len/int arg_len/'
must_find 'a changed result' soon_future_cancel.3 sed -i 's/^\.Ft bool/.Ft int/'
must_find 'a missing argument' soon_wait.3 sed -i '/^\.Fa "soon_ns timeout"/d'
must_find 'an invented function' soon_map.3 sed -i 's/^\.Fo soon_map$/.Fo soon_mapp/'
must_find 'a changed member' soon_map.3 sed -i 's/bool unordered;/int unordered;/'
must_find 'a missing member' soon_future_wait.3 sed -i '/^    int exit_code;/d'
must_find 'a missing name' soon_loop_new.3 sed -i '/^\.Nm soon_loop_run/d'
must_find 'a missing page' soon_version.3 rm
must_find 'a missing link' links/soon_loop_run.3 rm
must_find 'a link to nowhere' links/soon_loop_run.3 sed -i 's/loop_new/loop_old/'
must_find 'a dangling reference' soon_wait.3 sed -i 's/^\.Xr soon_map 3/.Xr soon_map 7/'
must_find 'a gap in the list of soon.7' soon.7 sed -i '/^\.Xr soon_executor_break 3/d'
must_find 'a page that is not installed' Local.mk sed -i '/soon_version\.3/d'
cat "$work/blind"
[ ! -s "$work/blind" ] || exit 1

echo "PASS: the pages of $count functions agree with the headers; $planted planted defects found"
