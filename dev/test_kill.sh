#!/usr/bin/env bash
# Trains a small model once without a stop, and once killed again and again at random moments and resumed with another
# number of threads; what is left must be the same bytes. Run from the project's folder, after `make`: make test-kill
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

./lotto generate --count 2000 --output "$folder" >/dev/null 2>&1
./train_tokenizer --input "$folder/lotto_train.txt" --vocab-size 400 --output "$folder" >/dev/null 2>&1
./tokenize --tokenizer "$folder" --input "$folder/lotto_train.txt" --val-input "$folder/lotto_val.txt" \
    --row-length 167 --output "$folder" >/dev/null 2>&1
train=(./train_gpt2 -i "$folder/train_*.bin" -j "$folder/val_*.bin" --layers 2 --channels 64 -b 4 -t 167 -d 1336 -x 240
    --loss-on answer
    -l 1e-3 -u 10 -q 0.1 -c 0.1 -v 20 -m 2 -s 60 -g 20 -n 5 -nk 2)

"${train[@]}" -o "$folder/whole" >/dev/null
kills=0
while [ ! -e "$folder/killed/DONE_00000240" ]; do
    seconds="0.$(printf %02d "$((RANDOM % 55 + 15))")"
    # The shell says "Killed" on its own standard error.
    { timeout -s KILL "$seconds" "${train[@]}" -o "$folder/killed" -y 1 --threads "$((RANDOM % 4 + 1))"; } \
        >/dev/null 2>&1 || kills=$((kills + 1))
    [ "$kills" -lt 200 ] || { echo "error: 200 kills and no end"; exit 1; }
done
[ "$kills" -ge 5 ] || { echo "error: only $kills kills, which tests nothing; try again"; exit 1; }
diff -r "$folder/whole" "$folder/killed"
echo "killed $kills times; every file is the same as without a stop"
