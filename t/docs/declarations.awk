# SPDX-License-Identifier: MIT
#
# Reads C declarations and prints each on one line in a normal form, without
# comments, preprocessor lines and attributes and with one blank around every
# mark, so that a header and a manual page can be compared as text. With
# -v api=1 it prints only the names of the functions that are declared SOON_API.

function strip_comments(line,    at, end)
{
    for (;;) {
        if (in_comment) {
            end = index(line, "*/")
            if (!end)
                return ""
            line = substr(line, end + 2)
            in_comment = 0
        }
        at = index(line, "/*")
        if (!at)
            return line
        end = index(substr(line, at + 2), "*/")
        if (!end) {
            in_comment = 1
            return substr(line, 1, at - 1)
        }
        line = substr(line, 1, at - 1) " " substr(line, at + 2 + end + 1)
    }
}

function emit(text,    is_api)
{
    is_api = text ~ /(^| )SOON_API /
    gsub(/SOON_(BEGIN_DECLS|END_DECLS|API|NODISCARD)/, " ", text)
    gsub(/SOON_PRINTF\([^)]*\)/, " ", text)
    gsub(/[][(){},;=*]/, " & ", text)
    gsub(/[ \t]+/, " ", text)
    gsub(/^ | $/, "", text)
    if (text == "" || text == ";")
        return
    if (!api)
        print text
    else if (is_api && match(text, /[a-z_0-9]+ \(/))
        print substr(text, RSTART, RLENGTH - 2)
}

/^[ \t]*#/ || continued { continued = /\\$/; next }

{
    line = strip_comments($0)
    for (i = 1; i <= length(line); i++) {
        char = substr(line, i, 1)
        pending = pending char
        depth += (char == "{") - (char == "}")
        if (char == ";" && depth == 0) {
            emit(pending)
            pending = ""
        }
    }
    pending = pending " "
}
