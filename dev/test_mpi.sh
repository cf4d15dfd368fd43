#!/usr/bin/env bash
# Trains small models of each kind on 1, 2, 3 and 4 ranks, with every MPI library that is here: the same losses, the same
# bytes where they are promised, and a resumed run on another number of ranks.
#
# usage: dev/test_mpi.sh FOLDER_OF_PROGRAMS
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
. dev/mpi.sh
. dev/small_data.sh

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
    find_mpirun || continue
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
done
[ $tested -gt 0 ] || echo "no MPI library was tested (Debian: apt-get install openmpi-bin mpich)"
