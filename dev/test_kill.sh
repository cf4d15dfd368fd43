#!/usr/bin/env bash
# Trains a small model of each kind once without a stop, and again with kills: at random moments, and while a checkpoint
# is being written. Each time it is resumed, with another number of threads; what is left must be the same bytes. Runs
# until there were enough kills of each trainer.
#
# usage: dev/test_kill.sh KILLS KILLS_INSIDE_SAVES FOLDER_OF_PROGRAMS
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1 wanted_inside=$2 programs=$3
folder=$(mktemp -d)
pid=
trap 'kill -9 $pid 2>/dev/null || true; rm -rf "$folder"' EXIT

. dev/small_data.sh

is_saving() {
    compgen -G "$folder/killed/*.tmp" >/dev/null || compgen -G "$folder/killed/best/*.tmp" >/dev/null \
        || [ -e "$folder/killed/.journal" ] || [ -e "$folder/killed/best/.journal" ]
}

for trainer in train_gpt2 train_phi train_bert finetune; do
    if [ "$trainer" = finetune ]; then
        train=("$programs/finetune" --model "$folder/base.bin" --data "$folder/questions.csv" --too-long cut
            --template chatml --rank 2 --dropout 0.1 -b 2 --accumulate 2 -x 60 -l 1e-3 -u 10 -c 0.1 -v 20 -m 2 -s 30
            -g 20 -n 1 -nk 2 -nm 10)
    elif [ "$trainer" = train_bert ]; then
        train=("$programs/train_bert" -i "$folder/bert/train_*.bin" -j "$folder/bert/val_*.bin" --layers 2 --channels 64
            -b 2 -t 64 -d 256 -x 60 -l 1e-3 -u 10 -q 0.1 -c 0.1 -v 20 -m 2 -n 1 -nk 2 -nm 10)
    else train=("$programs/$trainer" -i "$folder/train_*.bin" -j "$folder/val_*.bin" --layers 2 --channels 64 -b 2 -t 167
        -d 668 -x 60 --loss-on answer -l 1e-3 -u 10 -q 0.1 -c 0.1 -v 20 -m 2 -s 30 -g 20 -n 1 -nk 2 -nm 10)
    fi
    [ "$trainer" != train_bert ] || train+=(--dtype bfloat16)
    rm -rf "$folder/whole" "$folder/killed"
    "${train[@]}" -o "$folder/whole" >/dev/null 2>&1
    [ "$trainer" != train_gpt2 ] || cp "$folder/whole/model_best.bin" "$folder/base.bin"
    kills=0 inside=0 runs=0

    while [ "$kills" -lt "$wanted" ] || [ "$inside" -lt "$wanted_inside" ]; do
        "${train[@]}" -o "$folder/killed" -y 1 --threads "$((RANDOM % 4 + 1))" >/dev/null 2>"$folder/errors" &
        pid=$!
        if [ "$((RANDOM % 3))" -eq 0 ]; then
            sleep "0.$(printf %02d "$((RANDOM % 90))")"
        else
            # A few saves pass, so that the run gets on.
            sleep "0.$(printf %02d "$((RANDOM % 20 + 10))")"
            while kill -0 "$pid" 2>/dev/null && ! is_saving; do :; done
            sleep "0.00$((RANDOM % 10))"
        fi
        kill -9 "$pid" 2>/dev/null || true
        status=0
        wait "$pid" 2>/dev/null || status=$?
        if [ "$status" -eq 137 ]; then
            kills=$((kills + 1))
            if is_saving; then inside=$((inside + 1)); fi
        elif [ "$status" -ne 0 ]; then
            cat "$folder/errors"
            exit 1
        else
            diff -r "$folder/whole" "$folder/killed"
            rm -rf "$folder/killed"
            runs=$((runs + 1))
        fi
        [ "$runs" -le "$wanted" ] || {
            echo "error: $runs runs of $trainer with only $kills kills, $inside in a save"
            exit 1
        }
    done
    "${train[@]}" -o "$folder/killed" -y 1 >/dev/null 2>&1
    diff -r "$folder/whole" "$folder/killed"
    echo "$trainer: killed $kills times, $inside of them inside a save, in $((runs + 1)) runs; every file is the same as" \
        "without a stop"
done
