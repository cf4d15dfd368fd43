#!/bin/bash
# Training steps of GPT-2 124M here, in PyTorch and in llm.c, in turns on the same machine; prints tokens a second.
#
#     dev/bench/compare.sh [ROUNDS]            default 2
#
# PYTHON=python3    with torch and transformers, for PyTorch
# LLMC=FOLDER       a folder of llm.c where `make train_gpt2` and its starter pack are done, for llm.c (B 4, T 64 only)
# SHAPES="4,64 4,256 4,1024"
# What is not there is left out.
set -eu
cd "$(dirname "$0")/../.."
swift build -c release --product bench >/dev/null
bench=$PWD/.build/release/bench
torch_step=$PWD/dev/bench/torch_step.py
PYTHON=${PYTHON:-python3}
results=$(mktemp)
trap 'rm -f "$results"' EXIT

note() { echo "$*" >&2; }
keep() { [ -n "$2" ] && printf '%s\t%s\n' "$1" "$2" >>"$results" && note "$1: $2 tok/s"; }

for _ in $(seq "${1:-2}"); do
    for shape in ${SHAPES:-4,64 4,256 4,1024}; do
        B=${shape%,*} T=${shape#*,}
        keep "B $B T $T  here" "$("$bench" step "$B" "$T" | sed -n 's/.* step, \([0-9]*\) tok.*/\1/p')"
        if "$PYTHON" -c 'import torch, transformers' 2>/dev/null; then
            for kind in "" --bfloat16; do
                keep "B $B T $T  PyTorch ${kind:---float32}" \
                    "$("$PYTHON" "$torch_step" "$B" "$T" --steps $((T < 1024 ? 3 : 1)) $kind | sed -n 's/.*, \([0-9.]*\) tok.*/\1/p')"
            done
        fi
        if [ "$shape" = 4,64 ] && [ -x "${LLMC:-/nonexistent}/train_gpt2" ]; then
            # "step 1: train loss 4.3 (took 1234.5 ms)", among validations and samples; the first ones warm up.
            keep "B $B T $T  llm.c" "$( (cd "$LLMC" && timeout 60 stdbuf -oL ./train_gpt2 || true) |
                sed -n 's/^step [0-9]*:.*took \([0-9.]*\) ms.*/\1/p' | sed 1,2d | head -8 | sort -n |
                awk '{t[NR] = $1} END {if (NR) printf "%.1f", 256000 / t[int((NR + 1) / 2)]}')"
        fi
    done
done
echo "median tokens a second:"
sort -t $'\t' -k1,1 -k2,2n "$results" | awk -F '\t' '
    $1 != name { if (n) print name "  " v[int((n + 1) / 2)]; name = $1; n = 0 }
    { v[++n] = $2 }
    END { if (n) print name "  " v[int((n + 1) / 2)] }'
