# SPDX-License-Identifier: MIT
#
# Reads a manual page in mdoc and prints as C what it declares: the prototypes
# of its SYNOPSIS, the functions marked SOON_API as in a header, and the types
# that literal displays of other sections than EXAMPLES show.

function unquoted(text)
{
    if (text ~ /^".*"$/)
        return substr(text, 2, length(text) - 2)
    return text
}

function rest(line)
{
    sub(/^\.[A-Z][a-z] */, "", line)
    return unquoted(line)
}

/^\.Sh / { section = rest($0) }

section == "SYNOPSIS" && /^\.Ft / { type = rest($0) }
section == "SYNOPSIS" && /^\.Fo / { name = rest($0); arguments = "" }
section == "SYNOPSIS" && /^\.Fa / { arguments = arguments (arguments ? ", " : "") rest($0) }
section == "SYNOPSIS" && /^\.Fc/ {
    print (type ~ /^typedef / ? "" : "SOON_API ") type " " name "(" arguments ");"
}

/^\.Ed/ { literal = 0 }
literal { print }
/^\.Bd -literal/ && section != "EXAMPLES" { literal = 1 }
