#!/usr/bin/env bash
# Exercises: copies of the project in which one body is missing, and the test that is green when it is right again. Each
# is a file in dev/exercises: what is to do, where, the body that takes the original's place, and hints.
#
# usage: dev/exercise.sh list
#        dev/exercise.sh new NAME          makes the copy, exercise/NAME
#        dev/exercise.sh hint NAME NUMBER
#        dev/exercise.sh test [NAME…]      whether each is red without its body and green with it; all of them, or those
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

# A field of an exercise, such as its goal.
field() { sed -n -e '/^---/q' -e "s/^$2: //p" "dev/exercises/$1.txt"; }

# The text of an exercise's n-th section of a kind: body or hint.
section() {
    awk -v kind="--- $2" -v number="$3" '/^--- / { inside = $0 == kind && ++count == number; next } inside' "dev/exercises/$1.txt"
}

hints() { grep -c '^--- hint$' "dev/exercises/$1.txt"; }

# From the easiest on.
names() {
    local file
    for file in dev/exercises/*.txt; do
        file=${file##*/}
        field "${file%.txt}" time | awk -v name="${file%.txt}" '{
            print ($2 ~ /hour/ ? 60 * $1 : $2 ~ /minutes/ ? $1 : 240), name
        }'
    done | sort -k 1,1n -k 2 | cut -d ' ' -f 2
}

expect_known() {
    [ -f "dev/exercises/$1.txt" ] || fail "there is no exercise $1" "there are $(names | tr '\n' ' ')"
}

# A copy of what is built and tested, with its times, so that a build goes on from an earlier one's.
copy_to() {
    mkdir -p "$1/dev"
    cp -Rp Package.swift Makefile .swift-format Sources Tests "$1"
    cp -Rp dev/bench dev/fuzz "$1/dev"
}

# The number of the line at which an exercise begins, in a copy. It must be the only one that begins so.
# usage: line_of FOLDER NAME
line_of() {
    local file
    file=$(field "$2" file)
    AT=$(field "$2" at) awk -v file="$file" '
        { text = $0; sub(/^ +/, "", text) }
        index(text, ENVIRON["AT"]) == 1 { line = NR; count++ }
        END {
            if (count == 1) { print line; exit }
            printf "error: %d lines of %s begin with %s, not one\n", count, file, ENVIRON["AT"] >"/dev/stderr"
            exit 1
        }' "$1/$file"
}

# Puts an exercise's body in place of the original, in a copy. What begins at the exercise's line and opens a brace keeps its
# first lines and the last brace; a statement is replaced whole.
# usage: take_out FOLDER NAME
take_out() {
    local file first
    file=$1/$(field "$2" file)
    first=$(line_of "$1" "$2")
    BODY=$(section "$2" body 1) awk -v first="$first" '
        # Counts the brackets of a line, but for those in texts and comments.
        function count(text,    i, c) {
            gsub(/"([^"\\]|\\.)*"/, "", text)
            sub(/\/\/.*/, "", text)
            for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1)
                if (c == "(" || c == "[") round++
                if (c == ")" || c == "]") round--
                # Braces inside round brackets close there, too.
                if (c == "{" && (round == 0 || inside)) braces++
                if (c == "}" && (round == 0 || inside)) braces--
            }
        }
        NR < first || done { print; next }
        { count($0) }
        !inside && round > 0 { print; next }
        !inside && braces == 0 { print ENVIRON["BODY"]; done = 1; next }
        !inside { print; print ENVIRON["BODY"]; inside = 1; next }
        braces == 0 { print; done = 1 }
        END { exit !done }' "$file" >"$file.new" || fail "the body of $2 has no end" "see $file and dev/exercises/$2.txt"
    mv "$file.new" "$file"
}

list() {
    local name
    for name in $(names); do
        printf '%-14s%-12s%s\n' "$name" "$(field "$name" time)" "$(field "$name" goal)"
    done
    echo 'next: make exercise N=cosine'
}

new() {
    local folder=exercise/$1 file
    file=$(field "$1" file)
    [ ! -e "$folder" ] || fail "$folder is there, and your work may be in it" "to start again: rm -r $folder"
    copy_to "$folder"
    take_out "$folder" "$1"
    echo "$folder is the project without one body: $(field "$1" goal)"
    echo
    echo "write      $folder/$file:$(line_of "$folder" "$1")"
    echo "test       cd $folder && swift test -c release --filter '$(field "$1" test)'"
    echo "           red now, green when it is right; the first build takes minutes"
    echo "hints      make exercise N=$1 HINT=1, up to $(hints "$1")"
    echo "time       $(field "$1" time)"
    echo "solution   $file"
}

hint() {
    local text
    text=$(section "$1" hint "$2")
    [ -n "$text" ] || fail "$1 has no hint $2" "its hints are 1 to $(hints "$1")"
    printf '%s\n' "$text"
}

# MARK: - test

# The tests of the copy; each must end, red or green.
copy=.build-exercises/project
build=.build-exercises/build

build_copy() {
    (cd $copy && swift build -c release --scratch-path ../build --no-color-diagnostics --build-tests) >.build-exercises/log 2>&1 || {
        grep -E 'error:' .build-exercises/log >&2 || tail -n 5 .build-exercises/log >&2
        fail 'the copy does not build' 'see .build-exercises/log'
    }
    ! grep -E 'warning:' .build-exercises/log >&2 || fail 'the copy builds with warnings' 'see .build-exercises/log'
}

expect() {
    local name=$1 color=$2 last filter
    # Read before cd: the copy has no dev/exercises, and an empty filter would run all tests.
    filter=$(field "$name" test)
    [ -n "$filter" ] || fail "$name names no test" "see dev/exercises/$name.txt"
    (cd $copy && swift test -c release --scratch-path ../build --no-color-diagnostics --skip-build --filter "$filter") \
        >.build-exercises/log 2>&1 || true
    last=$(grep -aE 'Test run with [1-9][0-9]* test.* (passed|failed)' .build-exercises/log | tail -n 1 || true)
    case $color$last in
        red*failed*) ;;
        green*passed*) ;;
        *) fail "$name is not $color: ${last:-no test, or none that ended}" "see .build-exercises/log" ;;
    esac
    echo "ok: $name is $color"
}

# A missing kernel turns tests of the models red, too, and the tile those of attention. So they take turns: within each
# part no test uses two of the bodies.
part_of() {
    case $(field "$1" file) in
        Sources/Kernels/Matmul.swift) echo tile ;;
        Sources/Kernels/*) echo kernels ;;
        *) echo models ;;
    esac
}

run_tests() {
    local part name some
    copy_to $copy
    # Files that are no more; the others stay, so that not all is built again.
    (cd $copy && find Sources Tests dev -type f) | while read -r file; do [ -e "$file" ] || rm "$copy/$file"; done
    for part in tile kernels models; do
        some=
        for name in "$@"; do
            [ "$(part_of "$name")" != $part ] || some="$some $name"
        done
        [ -n "$some" ] || continue
        for name in $some; do cp "$(field "$name" file)" "$copy/$(field "$name" file)"; done
        for name in $some; do take_out $copy "$name"; done
        build_copy
        for name in $some; do expect "$name" red; done
        for name in $some; do cp "$(field "$name" file)" "$copy/$(field "$name" file)"; done
    done
    build_copy
    for name in "$@"; do expect "$name" green; done
}

command=${1:-list}
shift || true
case $command in
    list) list ;;
    new) expect_known "$1" && new "$1" ;;
    hint) expect_known "$1" && hint "$1" "$2" ;;
    test)
        for name in "$@"; do expect_known "$name"; done
        [ $# -gt 0 ] || set -- $(names)
        run_tests "$@"
        ;;
esac
