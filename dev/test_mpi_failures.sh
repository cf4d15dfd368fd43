#!/usr/bin/env bash
# What goes wrong under mpirun, with every MPI library that is here: a rank is killed, somebody presses Ctrl-C, the disk is
# full, ranks do not agree, there is no library. Each time all ranks must end, soon and with a word about it, and what was
# saved must go on to the bytes of a run without a stop.
#
# usage: dev/test_mpi_failures.sh KILLS FOLDER_OF_PROGRAMS
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1 programs=$(cd "$2" && pwd)
folder=$(mktemp -d)
pid=
# processes [RANK]: of the run that was started last.
processes() { sed -n "s/^${1:-[0-9]*} //p" "$folder/processes"; }
# mpirun ends with its ranks, and takes away what they had in /dev/shm.
clean_up() {
    if [ -n "$pid" ]; then
        kill -9 $(processes) 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null && sleep 0.1 || break; done
        kill -9 "$pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
# What killed processes would leave in /tmp.
export TMPDIR=$folder

. dev/mpi.sh
. dev/small_data.sh

gpt2="$programs/train_gpt2 --layers 2 --channels 64 -b 1 -t 167 -d 668 --loss-on answer --dropout 0.1 -l 1e-3 -c 0.1
    -k constant -v 50 -m 5 -s 100 -g 8 --same-bits --threads 1"
data="-i $folder/train_*.bin -j $folder/val_*.bin"
steps=150
saving="-n 5 -nk 2 -x $steps"

# Notes its process, then becomes the command.
cat >"$folder/rank" <<'END'
echo "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}} $$" >>"${0%/*}/processes"
exec "$@"
END

# start RANKS COMMAND…: like run, and does not wait. $pid is mpirun's process.
start() {
    local start=
    [ "$1" -eq 0 ] || start="$mpirun -n $1"
    shift
    # Nothing of the run before may be seen, even before mpirun has begun.
    : >"$folder/processes" >"$folder/output" >"$folder/errors"
    $start sh "$folder/rank" "$@" >"$folder/output" 2>"$folder/errors" </dev/null &
    pid=$!
}

# wait_for WORDS: until they are in the output, while the run lives, for a minute.
wait_for() {
    local end=$((SECONDS + 60))
    until grep -q "$1" "$folder/output"; do
        kill -0 "$pid" 2>/dev/null || return 0
        [ $SECONDS -lt $end ] || fail "$library: no $1 within a minute"
        sleep 0.02
    done
}

# ends SECONDS: waits so long for mpirun's end, and for the ranks', and sets $code. A process that nobody waits for, as
# in a container, stays as a zombie.
ends() {
    local end=$((SECONDS + $1)) process
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $end ] || {
            ps -o pid,stat,wchan:20,args -p "$(echo "$pid" $(processes) | tr ' ' ,)" | cut -c 1-100
            fail "$library: mpirun did not end within $1 seconds"
        }
        sleep 0.02
    done
    code=0
    wait "$pid" 2>/dev/null || code=$?
    for process in $(processes); do
        while kill -0 "$process" 2>/dev/null && [ "$(ps -o stat= -p "$process" | cut -c 1)" != Z ]; do
            [ $SECONDS -lt $end ] || fail "$library: process $process outlived mpirun"
            sleep 0.02
        done
    done
    pid=
}

# refused WORDS ARGUMENTS…: mpirun with these ends before the first step, with these words, and nothing is written over
# what is in kept/.
refused() {
    local words=$1
    shift
    code=0
    $mpirun "$@" >"$folder/output" 2>"$folder/errors" </dev/null || code=$?
    [ $code -ne 0 ] || fail "$library: not refused: $words"
    grep -q "^error: $words" "$folder/errors" || fail "$library: refused with other words than: $words"
    ! grep -qE "^(step|val loss)" "$folder/output" || fail "$library: a step before: $words"
    diff -r "$folder/whole" "$folder/kept" || fail "$library: something was written before: $words"
}

set -f # The programs take patterns as they are.

# Without mpirun: what the others are compared with, and what one process says of a full disk.
library=none
train 0 $gpt2 $data $saving -o "$folder/whole"
# full RANKS FOLDER: files may not grow beyond 100 kB any more, once a checkpoint is there; for the process that writes.
full() {
    start "$1" $gpt2 $data $saving --log-every 1 -o "$2"
    wait_for "^step  *7/"
    prlimit --pid "$(processes 0)" --fsize=100000
    ends 60
    grep -qE "^warning: cannot write .*; no checkpoint of step $steps was written" "$folder/output" \
        || fail "$library: a full disk went unnoticed"
    [ $code -eq 1 ] || fail "$library: a full disk ended with code $code"
}
has_limits=
if command -v prlimit >/dev/null; then
    has_limits=1
    full 0 "$folder/full"
    grep -E "^(error|hint): " "$folder/errors" | sed 's/[0-9]*\.tmp/tmp/' >"$folder/full.words"
    grep -q "^error: cannot write .*: File too large" "$folder/full.words" || fail "no words about a full disk"
    rm -rf "$folder/full"
else
    echo "a full disk: skipped, there is no prlimit here"
fi

tested=0
for library in openmpi mpich; do
    find_mpirun || continue
    tested=$((tested + 1))

    # A random rank is killed at a random moment, and the run goes on from its last checkpoint.
    kills=0 runs=0 longest=0
    while [ $kills -lt "$wanted" ]; do
        # Once Open MPI's mpirun gives the other rank two seconds more, in which it must notice by itself. (Version 5's
        # cannot be told to.)
        notices=
        if [ $kills -eq 0 ] && $mpirun --version | grep -q "Open MPI) 4"; then
            notices=1
            export OMPI_MCA_odls_base_sigkill_timeout=2
        fi
        start 2 $gpt2 $data $saving --log-every 1 -y 1 -o "$folder/killed"
        wait_for "^step"
        [ -n "$notices" ] || sleep "0.$(printf %03d $((RANDOM % 500)))"
        victim=$((RANDOM % 2)) before=$SECONDS
        kill -9 "$(processes $victim)" 2>/dev/null || true
        ends 10 # or 2, on a quiet machine
        unset OMPI_MCA_odls_base_sigkill_timeout
        if [ $code -eq 0 ]; then
            # It was too late.
            diff -r "$folder/whole" "$folder/killed" || fail "$library: a killed run ended in other bytes"
            rm -rf "$folder/killed"
            runs=$((runs + 1))
            [ $runs -le "$wanted" ] || fail "$library: $runs runs with only $kills kills"
            continue
        fi
        took=$((SECONDS - before))
        [ $took -le $longest ] || longest=$took
        # The launcher's, or of a library that has noticed first.
        words="signal:? 9|exit code: 9|^Abort\("
        [ -z "$notices" ] || words="^error: rank $victim has died"
        grep -qiE "$words" "$folder/errors" "$folder/output" || fail "$library: no word about the killed rank"
        kills=$((kills + 1))
    done
    train 2 $gpt2 $data $saving -y 1 -o "$folder/killed"
    diff -r "$folder/whole" "$folder/killed" || fail "$library: a killed run ended in other bytes"
    rm -rf "$folder/killed"
    echo "$library: killed $kills times; all ended within $longest s and went on to the same bytes"

    # Ctrl-C: a terminal signals all of mpirun's process group. Then a signal to one rank.
    for whom in group 1; do
        # Open MPI's mpirun waits so many seconds before it tells the ranks, and again before it kills them. It reads
        # nothing of what they print then, so they must not print much.
        export OMPI_MCA_odls_base_sigkill_timeout=2 PRTE_MCA_odls_base_sigkill_timeout=2
        set -m # a process group
        start 2 $gpt2 $data -n 1000 -x 100000 -o "$folder/stopped"
        set +m
        wait_for "^generating"
        if [ $whom = group ]; then kill -INT -- "-$pid"; else kill -INT "$(processes $whom)"; fi \
            || fail "$library: the run ended by itself"
        ends 20
        unset OMPI_MCA_odls_base_sigkill_timeout
        step=$(sed -n 's/^stopped before step \([0-9]*\)$/\1/p' "$folder/errors")
        [ -n "$step" ] || fail "$library: Ctrl-C did not stop it in order"
        grep -q "^continue with mpirun -n 2 .* -y 1" "$folder/errors" || fail "$library: Ctrl-C without a hint"
        [ $whom = group ] || [ $code -eq 130 ] || fail "$library: a signal to a rank ended with code $code, not 130"
        last=$(printf %08d $((step - 1)))
        [ -e "$folder/stopped/DONE_$last" ] || fail "$library: Ctrl-C before step $step without a checkpoint"
        next=$(printf %08d $((step + 4)))
        train 2 $gpt2 $data -n 1000 -x $((step + 4)) -y 1 -o "$folder/stopped"
        train 0 $gpt2 $data -n 1000 -x $((step + 4)) -o "$folder/through"
        for name in "model_$next.bin" "state_${next}_00000.bin"; do
            cmp "$folder/through/$name" "$folder/stopped/$name" || fail "$library: a stopped run ended in other bytes"
        done
        rm -rf "$folder/stopped" "$folder/through"
    done
    echo "$library: Ctrl-C, and a signal to a rank, write a checkpoint that goes on to the same bytes"

    if [ -n "$has_limits" ]; then
        full 2 "$folder/full"
        grep -E "^(error|hint): " "$folder/errors" | sed 's/[0-9]*\.tmp/tmp/' | diff "$folder/full.words" - \
            || fail "$library: other words about a full disk than one process has"
        ls "$folder/full" | grep -q ^DONE || fail "$library: a full disk cost the earlier checkpoints"
        train 2 $gpt2 $data $saving -y 1 -o "$folder/full"
        diff -r "$folder/whole" "$folder/full" || fail "$library: a run with a full disk ended in other bytes"
        rm -rf "$folder/full"
        echo "$library: a full disk is what it is for one process"
    fi

    # Ranks that are not the same. Each starts over in a folder that holds a run, and nothing of it may be lost.
    export OMPI_MCA_odls_base_sigkill_timeout=0 PRTE_MCA_odls_base_sigkill_timeout=0
    cp -r "$folder/whole" "$folder/kept"
    small="$gpt2 -x 3 -y 0 -o $folder/kept"
    same="-n 1 $small $data"
    refused "rank 1 has --learning-rate 2e-3, and rank 0 1e-3" $same : $same -l 2e-3
    refused "rank 1 has another number of steps than rank 0: 4, not 3" $same : $same -x 4
    refused "rank 3 has --dry-run 1, and rank 0 0" -n 3 $small $data : $same --dry-run
    refused "rank 1: unknown option --nothing" $same : $same --nothing
    refused "rank 1: no token shards match" $same : $same -i "$folder/none_*.bin"
    # The same names with other contents, as on machines that share no folder.
    mkdir "$folder/here" "$folder/there"
    cp "$folder/train_000000.bin" "$folder/val_000000.bin" "$folder/here"
    cp "$folder/val_000000.bin" "$folder/there/train_000000.bin"
    cp "$folder/train_000000.bin" "$folder/there/val_000000.bin"
    cp "$folder/whole/model_$(printf %08d $steps).bin" "$folder/here/model.bin"
    cp "$folder/whole/model_$(printf %08d $((steps - 5))).bin" "$folder/there/model.bin"
    small="$small --tokenizer $folder"
    elsewhere() { refused "$1" -n 1 -wdir "$folder/here" $small $2 : -n 1 -wdir "$folder/there" $small $2; }
    elsewhere "rank 1 has another text to learn from than rank 0" "-i train_*.bin -j $folder/val_*.bin"
    elsewhere "rank 1 has another text to validate with than rank 0" "-i $folder/train_*.bin -j val_*.bin"
    elsewhere "rank 1 has another model than rank 0" "-e model.bin $data"
    rm -rf "$folder/here" "$folder/there"
    refused "a step of 4 micro-batches cannot be shared by 3 ranks" -n 3 $small $data
    # No library; one that is none; and the other one, in which every process would be alone.
    LLM_MPI=$folder/libmpi.so refused ".* the library that LLM_MPI names cannot be opened: " -n 2 $small $data
    echo "no library" >"$folder/libmpi.so"
    LLM_MPI=$folder/libmpi.so refused ".* the library that LLM_MPI names cannot be opened: " -n 2 $small $data
    [ "$library" != openmpi ] && other=libmpi.so.40 || other=libmpich.so.12
    LLM_MPI=$other refused "\(.* sees 1 of the 2 processes\|.* the library that LLM_MPI names cannot be opened\)" \
        -n 2 $small $data
    unset OMPI_MCA_odls_base_sigkill_timeout PRTE_MCA_odls_base_sigkill_timeout
    rm -rf "$folder/kept" "$folder/libmpi.so"
    echo "$library: ranks that differ, and ranks without their library, are refused, and nothing is written"
done
[ $tested -gt 0 ] || echo "no MPI library was tested (Debian: apt-get install openmpi-bin mpich)"
