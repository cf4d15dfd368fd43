#!/usr/bin/env bash
# The whole pipeline, small, under the thread sanitizer: any race ends it. `make test-threads` builds the programs.
#
# usage: dev/test_threads.sh FOLDER_OF_PROGRAMS
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TSAN_OPTIONS="suppressions=$PWD/dev/tsan.supp halt_on_error=1 exitcode=66 log_path=$folder/race"

. dev/mpi.sh
mpirun=

run() {
    $mpirun "$programs/$1" "${@:2}" >"$folder/out" 2>&1 </dev/null || {
        echo "error: $*"
        tail -n 5 "$folder/out"
        cat "$folder"/race.* 2>/dev/null | head -n 60
        exit 1
    }
    echo "no race: ${mpirun:+$library, }$1"
}
run lotto generate --count 600 --val-count 100 --output "$folder"
run train_tokenizer --input "$folder/lotto_train.txt" --vocab-size 369 --output "$folder"
run tokenize --tokenizer "$folder" --input "$folder/lotto_train.txt" --val-input "$folder/lotto_val.txt" \
    --row-length 167 --output "$folder"
run tokenize --tokenizer "$folder" --suggest 20 --input "$folder/lotto_train.txt"
run train_gpt2 -i "$folder/train_*.bin" -o "$folder/model" --layers 2 --heads 2 --channels 128 -b 4 -t 167 -d 1336 \
    -l 2e-3 -u 3 --loss-on answer -x 8 -n 3 -nk 1 -v 4 -m 2 -s 4 -g 16 --threads 4
run train_gpt2 -o "$folder/model" -y 1 -x 10 --threads 3
run train_phi -i "$folder/train_*.bin" -o "$folder/phi" --layers 2 --heads 2 --channels 128 -b 4 -t 167 -d 1336 \
    -l 2e-3 -u 3 --loss-on text -x 4 -n 2 -nk 1 -v 4 -m 2 -s 4 -g 16 --threads 4
run train_tokenizer --input "$folder/lotto_train.txt" --vocab-size 369 --output "$folder/bert" \
    --special "[PAD]" "[UNK]" "[CLS]" "[SEP]" "[MASK]"
run tokenize --tokenizer "$folder/bert" --input "$folder/lotto_train.txt" --val-fraction 0.1 --output "$folder/bert"
run train_bert -i "$folder/bert/train_*.bin" -o "$folder/masked" --layers 2 --heads 2 --channels 128 -b 4 -t 100 -l 2e-3 -x 4 \
    -v 4 -m 2 --threads 4
run embed --model "$folder/masked/best" --input "$folder/lotto_val.txt" --output "$folder/vectors.npy" --threads 4
printf 'Q,A\none,two\nthree,four\nfive,six\nseven,eight\n' >"$folder/questions.csv"
run finetune --model "$folder/phi/best" --data "$folder/questions.csv" -o "$folder/adapter" --template chatml --rank 4 \
    --dropout 0.1 --val-fraction 0.25 -b 3 -x 4 -n 2 -v 2 -s 4 -g 16 --threads 4
run generate --adapter "$folder/adapter/checkpoint-4" --chat --prompt one --num-samples 3 --max-new-tokens 20 --threads 4
run generate --model "$folder/phi/best" --num-samples 3 --max-new-tokens 20 --threads 4
run generate --model "$folder/model/model_best.bin" --tokenizer "$folder" --num-samples 3 --max-new-tokens 20 --threads 4
run lotto score --model "$folder/model/model_best.bin" --tokenizer "$folder" --train "$folder/lotto_train.txt" \
    --count 20 --threads 4
# What two ranks exchange, on a thread of its own. UCX, below MPICH, would patch malloc and mmap, which are the sanitizer's.
export UCX_MEM_EVENTS=n
for library in openmpi mpich; do
    find_mpirun || continue
    mpirun="$mpirun -n 2"
    run train_gpt2 -i "$folder/train_*.bin" -o "$folder/ranks" -y 0 --layers 2 --heads 2 --channels 128 -b 2 -t 167 -d 1336 \
        -l 2e-3 --loss-on answer -x 4 -n 2 -v 2 -m 2 -s 4 -g 16 --threads 2
done
