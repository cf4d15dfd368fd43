# What small runs of all trainers need, for the scripts that test them: sourced, with $programs, the folder of the programs, and
# $folder, where it makes the lottery's text as shards for GPT-2 and Phi, as shards for a BERT in bert/, and questions.csv.
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
