# SPDX-License-Identifier: MIT
#
# Takes the complete programs, those with an `int main(`, out of a manual page
# in mdoc or, with -v markdown=1, out of a Markdown file, and writes each to
# PREFIX-N.c. Where the text between a program and the next block ends in
# "prints:", that block is what the program has to print: PREFIX-N.expected.
# Prints how many programs there were.

function opens()
{
    return markdown ? /^```/ && !inside : /^\.Bd -literal/
}

function closes()
{
    return markdown ? /^```$/ && inside : /^\.Ed/
}

function plain(line)
{
    if (markdown)
        return line
    gsub(/\\&/, "", line)
    gsub(/\\e/, "\\", line)
    return line
}

function finish()
{
    if (block ~ /int main\(/) {
        n++
        printf "%s", block > (prefix "-" n ".c")
        awaiting = 1
    } else if (awaiting && announced) {
        printf "%s", block > (prefix "-" n ".expected")
        awaiting = 0
    } else {
        awaiting = 0
    }
    announced = 0
}

opens() { inside = 1; block = ""; next }
closes() { inside = 0; finish(); next }
inside { block = block plain($0) "\n"; next }
/[^ \t]/ && !/^\.Pp/ { announced = /prints:$/ }

END { print n + 0 }
