#!/usr/bin/env bash
# Fetches what llm.c's own starter pack offers, for people with a network: OpenAI's GPT-2 124M weights, their debug
# state, GPT-2's tokenizer, and Tiny Shakespeare as token shards. About 1.05 GB. Run it again to resume where it stopped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

source_url=https://huggingface.co/datasets/karpathy/llmc-starter-pack/resolve/main
shards=dev/data/tinyshakespeare

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

size_of() { wc -c <"$1" | tr -d ' '; }

# header_int FILE N: the N-th int32 of a file's header (little-endian, as every machine is that this runs on).
header_int() { od -A n -t d4 -j $((4 * $2)) -N 4 "$1" | tr -d ' '; }

# fetch PATH MAGIC SIZE: SIZE is the number of bytes, `shard` for a header and 2 bytes a token, or `any`.
fetch() {
    local path=$1 magic=$2 expected=$3
    local name part=$1.part
    name=$(basename "$path")
    if [ -e "$path" ]; then
        echo "$path is already there"
        return
    fi
    echo "fetching $path"
    curl -fL --retry 3 -C - -o "$part" "$source_url/$name" ||
        fail "cannot fetch $name (curl's exit code $?)" \
            "check the network, then run dev/download_starter_pack.sh again: it resumes; or put $name at $path yourself"
    if [ "$expected" = shard ]; then expected=$((1024 + 2 * $(header_int "$part" 2))); fi
    if [ "$(header_int "$part" 0)" != "$magic" ] ||
        { [ "$expected" != any ] && [ "$(size_of "$part")" != "$expected" ]; }; then
        fail "$name is not what it should be ($(size_of "$part") bytes, expected $expected)" \
            "remove $part and run dev/download_starter_pack.sh again"
    fi
    mv "$part" "$path"
}

command -v curl >/dev/null || fail "curl is missing" "install it, for example with: apt-get install curl"
mkdir -p "$shards" || fail "cannot create $shards" "check who owns this folder"

fetch gpt2_tokenizer.bin 20240328 any
fetch $shards/tiny_shakespeare_val.bin 20240520 shard
fetch $shards/tiny_shakespeare_train.bin 20240520 shard
# 124,475,904 float32 (the vocabulary padded to 50,304) after the header; the debug state adds x, y, logits and loss.
fetch gpt2_124M.bin 20240326 497904640
fetch gpt2_124M_debug_state.bin 20240327 549369860
echo "all there"
