# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the gates share; sourced by each of them. A gate prints the commands it
# runs and every defect it finds, and ends with one line PASS or FAIL; it goes
# on after a defect, so that one run shows all of them. Nothing a gate needs
# may be missing, and nothing it looks at may be empty: both are failures.

gate=$(basename "$0")
srcdir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
defects=0
scratch=
verdict_given=

# However a gate ends, it says so, and leaves nothing behind.
finish() {
    local status=$?

    [ -z "$scratch" ] || rm -rf "$scratch"
    if [ "$status" -ne 0 ] && [ -z "$verdict_given" ]; then
        printf 'FAIL: %s: %d defect(s), and it could not go on\n' "$gate" "$defects"
    fi
}
trap finish EXIT

# Shows a command on stderr, so that its output can be caught, then runs it.
run() {
    printf '%s: $ %s\n' "$gate" "$*" >&2
    "$@"
}

# A command that must succeed.
must() {
    run "$@" || defect "this failed: $(shorten "$@")"
}

# A command in one line of bearable length; run() has shown it in full.
shorten() {
    local command="$*"

    [ ${#command} -le 120 ] || command="${command:0:120} ..."
    printf '%s' "$command"
}

defect() {
    printf '%s: DEFECT: %s\n' "$gate" "$*"
    defects=$((defects + 1))
}

# The end of every gate.
verdict() {
    verdict_given=yes
    if [ "$defects" -eq 0 ]; then
        printf 'PASS: %s: %s\n' "$gate" "$*"
        exit 0
    fi
    printf 'FAIL: %s: %d defect(s)\n' "$gate" "$defects"
    exit 1
}

# The end of a gate that cannot even begin.
give_up() {
    defect "$@"
    verdict
}

need() {
    local tool

    for tool; do
        command -v "$tool" >/dev/null || give_up "$tool is not installed; see tools/setup"
    done
}

# Makes a directory that finish() removes, and sets $scratch to it.
make_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/soon-$gate.XXXXXX")
}

# The files of the tree, one a line, relative to $srcdir: what git tracks or
# would track. Arguments are git's patterns.
tree_files() {
    git -c safe.directory="$srcdir" -C "$srcdir" ls-files --cached --others --exclude-standard -- "$@" |
        while IFS= read -r file; do
            if [ -f "$srcdir/$file" ]; then
                printf '%s\n' "$file"
            fi
        done | LC_ALL=C sort -u
}

# Reads the files into the array of that name and gives up if there are none.
# (git's own refusal, such as outside of a repository, shows up as none.)
read_tree() {
    local -n list=$1
    shift

    mapfile -t list < <(tree_files "$@")
    [ ${#list[@]} -gt 0 ] || give_up "no files match: $*"
}

# C source without its comments, line by line as it was.
strip_comments() {
    awk '
        {
            line = $0; out = ""
            while (line != "") {
                if (inside) {
                    end = index(line, "*/")
                    if (!end) { line = ""; break }
                    line = substr(line, end + 2); inside = 0
                    out = out " "
                } else if (match(line, /\/\*|\/\/|"([^"\\]|\\.)*"/)) {
                    token = substr(line, RSTART, 2)
                    out = out substr(line, 1, RSTART - 1)
                    if (token == "//") { line = ""; break }
                    if (token == "/*") { inside = 1; line = substr(line, RSTART + 2); continue }
                    out = out substr(line, RSTART, RLENGTH)
                    line = substr(line, RSTART + RLENGTH)
                } else { out = out line; line = "" }
            }
            print out
        }' "$@"
}
