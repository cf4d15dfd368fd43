#!/usr/bin/env bash
# Trains small models of each kind on 1, 2, 3 and 4 ranks, with every MPI library that is here: the same losses, the same
# bytes where they are promised, a resumed run on another number of ranks, a rank that is killed, Ctrl-C, a full disk, and
# ranks that do not agree.
#
# usage: dev/test_mpi.sh FOLDER_OF_PROGRAMS
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$1
folder=$(mktemp -d)
pid=
trap 'kill -9 $pid 2>/dev/null || true; rm -rf "$folder"' EXIT
# In a container one is root, and there may be fewer cores than ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "error: $*"
    tail -n 20 "$folder/output" "$folder/errors" 2>/dev/null || true
    exit 1
}

# The mpirun of a library: Debian's name, or the plain one if it says that it is.
launcher() {
    for name in "mpirun.$1" mpirun; do
        command -v "$name" >/dev/null || continue
        case $1:$("$name" --version 2>/dev/null || true) in
            openmpi:*"Open MPI"* | openmpi:*OpenRTE* | mpich:*HYDRA* | mpich:*MPICH*) echo "$name" && return ;;
        esac
    done
}

# run RANKS COMMAND…: on so many ranks with $library; 0 is without mpirun.
run() {
    local ranks=$1
    shift
    if [ "$ranks" -eq 0 ]; then "$@"
    elif [ "$library" = openmpi ]; then "$(launcher openmpi)" --map-by :OVERSUBSCRIBE --bind-to none -n "$ranks" "$@"
    else "$(launcher mpich)" -n "$ranks" "$@"; fi >"$folder/output" 2>"$folder/errors" </dev/null
}

# Like run, and it must end well.
train() { run "$@" || fail "$* ended with code $?"; }

"$programs/lotto" generate --count 2000 --output "$folder" >/dev/null 2>&1
"$programs/train_tokenizer" --input "$folder/lotto_train.txt" --vocab-size 400 --output "$folder" >/dev/null 2>&1
"$programs/tokenize" --tokenizer "$folder" --input "$folder/lotto_train.txt" --val-input "$folder/lotto_val.txt" \
    --row-length 167 --output "$folder" >/dev/null 2>&1
"$programs/train_tokenizer" --input "$folder/lotto_train.txt" --vocab-size 400 --output "$folder/bert" \
    --special "[PAD]" "[UNK]" "[CLS]" "[SEP]" "[MASK]" >/dev/null 2>&1
"$programs/tokenize" --tokenizer "$folder/bert" --input "$folder/lotto_train.txt" \
    --val-input "$folder/lotto_val.txt" --output "$folder/bert" >/dev/null 2>&1
awk 'BEGIN { RS = ""; print "Q,A" } {
    i = index($0, "결과\n"); printf "\"%s\",\"%s\"\n", substr($0, 1, i - 1), substr($0, i + length("결과\n"))
}' "$folder/lotto_val.txt" >"$folder/questions.csv"

# What trains a model of a kind, in steps of twelve micro-batches, into $folder/NAME.
command_of() {
    local shape="--layers 2 --channels 64 -b 1" steps="-l 1e-3 -c 0.1 -k constant -v 10 -m 5 -n 10 --dropout 0.1"
    case $1 in
        train_gpt2 | train_phi)
            echo "$programs/$1 -i $folder/train_*.bin -j $folder/val_*.bin $shape -t 167 -d 2004 --loss-on answer -s 10" \
                "-g 8 $steps" ;;
        train_bert)
            echo "$programs/train_bert -i $folder/bert/train_*.bin -j $folder/bert/val_*.bin $shape -t 64 -d 768 $steps" ;;
        finetune)
            echo "$programs/finetune --model $folder/base.bin --data $folder/questions.csv --too-long cut --rank 2 -b 1" \
                "--accumulate 12 -s 10 -g 8 $steps" ;;
    esac
}
set -f # The programs take patterns as they are.

# Without mpirun: what the others are compared with.
library=none
for trainer in train_gpt2 train_phi train_bert finetune; do
    train 0 $(command_of $trainer) -x 20 --same-bits -o "$folder/$trainer"
    [ $trainer != train_gpt2 ] || cp "$folder/train_gpt2/model_00000020.bin" "$folder/base.bin"
done
losses() { sed -n 's/^step *\([0-9]*\).* | loss \([0-9.]*\) .*/\1 \2/p' "$folder/output"; }
gpt2="$(command_of train_gpt2)"
train 0 $gpt2 -x 100 --log-every 1
losses >"$folder/losses"
[ "$(wc -l <"$folder/losses")" -eq 100 ] || fail "not 100 losses"

tested=0
for library in openmpi mpich; do
    [ -n "$(launcher $library)" ] || {
        echo "$library: skipped, it has no mpirun here"
        continue
    }
    tested=$((tested + 1))

    for ranks in 2 3 4; do
        train $ranks $gpt2 -x 100 --log-every 1
        losses | paste -d ' ' "$folder/losses" - | awk '
            { d = $2 - $4; if (d < 0) d = -d; if (d > 1e-5 || $1 != $3) { print; bad = 1 } }
            END { exit bad || NR != 100 }' || fail "the losses of $ranks ranks are not those of one process"
    done
    for trainer in train_gpt2 train_phi train_bert finetune; do
        for ranks in 2 4; do
            train $ranks $(command_of $trainer) -x 20 --same-bits --threads $ranks -o "$folder/ranks"
            diff -r "$folder/$trainer" "$folder/ranks" || fail "$ranks ranks of $trainer end in other bytes"
            rm -rf "$folder/ranks"
        done
        # In the ranks' own order: the same with any library and any number of threads.
        for threads in 1 2; do
            train 3 $(command_of $trainer) -x 10 --threads $threads -o "$folder/three"
            [ -d "$folder/$trainer-3" ] || cp -r "$folder/three" "$folder/$trainer-3"
            diff -r "$folder/$trainer-3" "$folder/three" || fail "three ranks of $trainer end in other bytes"
            rm -rf "$folder/three"
        done
    done
    echo "$library: the losses of one process; the same bytes on 1, 2 and 4 ranks"

    train 4 $gpt2 -x 10 --same-bits -o "$folder/resumed"
    train 0 $gpt2 -x 20 --same-bits -y 1 -o "$folder/resumed"
    cmp "$folder/train_gpt2/state_00000020_00000.bin" "$folder/resumed/state_00000020_00000.bin" || fail "resumed on one"
    rm -rf "$folder/resumed"
    train 0 $gpt2 -x 10 --same-bits -o "$folder/resumed"
    train 2 $gpt2 -x 20 --same-bits -y 1 -o "$folder/resumed"
    cmp "$folder/train_gpt2/state_00000020_00000.bin" "$folder/resumed/state_00000020_00000.bin" || fail "resumed on two"
    rm -rf "$folder/resumed"
    echo "$library: resumed on another number of ranks"

    # A rank is killed, once each, and all end; then Ctrl-C. What was saved goes on to the same bytes.
    train 0 $gpt2 -x 100 --same-bits -n 1 -o "$folder/whole"
    for victim in 0 1 stop; do
        # How long Open MPI's mpirun waits for the last checkpoint after Ctrl-C; by default a second.
        [ $victim != stop ] || export OMPI_MCA_odls_base_sigkill_timeout=60 PRTE_MCA_odls_base_sigkill_timeout=60
        run 2 $gpt2 -x 100 --same-bits -n 1 -o "$folder/stopped" &
        pid=$!
        while kill -0 $pid 2>/dev/null && [ ! -e "$folder/stopped/DONE_00000005" ]; do sleep 0.05; done
        if [ $victim = stop ]; then
            # The mpirun is a child of the function's shell.
            kill -INT "$(pgrep -P $pid)"
        else
            for process in $(pgrep train_gpt2); do
                if tr '\0' '\n' <"/proc/$process/environ" | grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK)=$victim" \
                    && tr '\0' ' ' <"/proc/$process/cmdline" | grep -qF "$folder/"; then kill -9 "$process"; fi
            done
        fi
        started=$(date +%s)
        code=0
        wait $pid || code=$?
        pid=
        [ $code -ne 0 ] || fail "$library: nothing was stopped"
        [ $(($(date +%s) - started)) -le 10 ] || fail "$library: it took more than ten seconds to end"
        if [ $victim = stop ]; then
            grep -q "continue with mpirun -n 2" "$folder/errors" || fail "$library: Ctrl-C without a hint"
            grep -q "^wrote" "$folder/output" || fail "$library: Ctrl-C without a checkpoint"
        fi
        train 2 $gpt2 -x 100 --same-bits -n 1 -y 1 -o "$folder/stopped"
        diff -r "$folder/whole" "$folder/stopped" || fail "$library: a stopped run ended in other bytes"
        rm -rf "$folder/stopped"
    done
    unset OMPI_MCA_odls_base_sigkill_timeout PRTE_MCA_odls_base_sigkill_timeout
    rm -rf "$folder/whole"
    echo "$library: a killed rank ends all, Ctrl-C writes a checkpoint, and both go on"

    # A file may not grow beyond 200 kB: rank 0's disk is full.
    code=0
    (ulimit -f 200 && run 2 $gpt2 -x 20 -o "$folder/full") || code=$?
    [ $code -ne 0 ] && grep -q "no checkpoint of step 20 was written" "$folder/output" \
        || fail "$library: a full disk went unnoticed"
    rm -rf "$folder/full"

    # refused WORDS COMMAND…: ends before the first step, with these words, and nothing is written.
    refused() {
        local words=$1
        shift
        if run "$@"; then fail "$library: not refused: $words"; fi
        grep -q "$words" "$folder/errors" || fail "$library: refused with other words than: $words"
        ! grep -q "^step" "$folder/output" || fail "$library: a step before: $words"
        [ ! -e "$folder/refused/main.log" ] || fail "$library: something was written before: $words"
    }
    # Rank 1 alone gets what follows --then.
    cat >"$folder/differ" <<'END'
#!/usr/bin/env bash
words=() more=() then=
for word in "$@"; do
    if [ "$word" = --then ]; then then=1; elif [ -n "$then" ]; then more+=("$word"); else words+=("$word"); fi
done
[ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-}}" = 1 ] || more=()
exec "${words[@]}" "${more[@]}"
END
    chmod +x "$folder/differ"
    small="$folder/differ $gpt2 -x 3 -o $folder/refused --then"
    refused "rank 1 has --learning-rate 2e-3, and rank 0 1e-3" 2 $small -l 2e-3
    refused "rank 1 has --dry-run" 3 $small --dry-run
    refused "rank 1: no token shards match" 2 $small -i "$folder/none_*.bin"
    refused "rank 1: unknown option --nothing" 2 $small --nothing
    refused "rank 1 has another number of steps" 2 $small --steps 4
    cp -r "$folder/train_gpt2" "$folder/other" && cp "$folder/base.bin" "$folder/other.bin"
    # The same name with other contents, as on machines that share no folder.
    sed -e 's|^exec|[ ${#more[@]} -eq 0 ] \|\| { cd "$(dirname "$0")/there"; more=(); }; exec|' "$folder/differ" >"$folder/elsewhere"
    chmod +x "$folder/elsewhere"
    mkdir -p "$folder/here" "$folder/there"
    cp "$folder/train_000000.bin" "$folder/val_000000.bin" "$folder/here"
    cp "$folder/val_000000.bin" "$folder/there/train_000000.bin" && cp "$folder/val_000000.bin" "$folder/there"
    cp "$folder/base.bin" "$folder/here/model.bin"
    cp "$folder/train_gpt2/model_00000010.bin" "$folder/there/model.bin"
    local_run="$(realpath "$programs")/train_gpt2 -t 167 -b 1 -d 334 -x 3 --tokenizer $folder -v 10 --threads 1"
    cd "$folder/here"
    refused "rank 1 has another text to learn from" 2 "$folder/elsewhere" $local_run -i "train_*.bin" --then x
    refused "rank 1 has another model" 2 "$folder/elsewhere" $local_run -e model.bin -i "$folder/train_*.bin" --then x
    cd "$OLDPWD"
    rm -rf "$folder/refused" "$folder/here" "$folder/there" "$folder/other" "$folder/other.bin"
    refused "12 micro-batches cannot be shared by 5 ranks" 5 $gpt2 -x 3
    refused "that 3 ranks cannot share" 3 $gpt2 -x 3 --same-bits
    # The other library, in which every process would be alone; and none at all.
    LLM_MPI=/nowhere/libmpi.so refused "there is no MPI library here" 2 $gpt2 -x 3
    echo "$library: a full disk, and ranks that do not agree"
done
[ $tested -gt 0 ] || echo "no MPI library was tested (Debian: apt-get install openmpi-bin mpich)"
