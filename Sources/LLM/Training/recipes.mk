# The settings of known runs. They stand here once: the Makefile includes this file, and train_gpt2 has it built in and
# uses it when it is started without options.

# The lottery machine. A question and its answer are 167 tokens, a row each; every step sees new ones.
lotto.VOCAB = 369
lotto.BATCH = 16
lotto.T = 167
lotto.STEPS = 4000
lotto.EVERY = 500
lotto.TRAIN = --layers 2 --heads 2 --channels 64 -b $(BATCH) -t $(T) -x $(STEPS) -l 5e-3 -u 100 -q 0 -c 0.05 --loss-on answer -v $(EVERY) -m 30 -s 1000 -g 210 -n $(EVERY)

# The lottery machine with up to ten tickets: 282 tokens a row.
lotto-long.T = 282
lotto-long.STEPS = 24000
lotto-long.EVERY = 2000

# An adapter that teaches the lottery machine another rule. Rank 3 on all its linear layers is 4.5% of its parameters.
lora.COUNT = 20000
lora.RULE = --price 2000 --prizes 1000000000,50000000,2000000,100000,10000
lora.TRAIN = --rank 3 --alpha 6 --dropout 0 -b 16 -x 1200 -l 1e-2 -u 30 -v 300 -s 0

# One's own text. What is not said here follows from the text's size, from the time and from the machine: the vocabulary
# by train_tokenizer, the rest by train_gpt2 (TimeBudget.swift).
text.VOCAB = 0
text.MINUTES = 5
text.TRAIN = --minutes $(MINUTES) -g 256 -n 500 -nk 2

# A model that answers, from texts with a document on each line: its pre-training, small batches and many steps because
# there are few tokens, and its tuning, the same for an adapter and for the whole model but for the learning rate.
chatbot.VOCAB = 8000
chatbot.BATCH = 4
chatbot.T = 256
chatbot.STEPS = 8000
chatbot.TRAIN = --layers 4 --heads 4 --channels 192 -b $(BATCH) -t $(T) -x $(STEPS) -l 2e-3 -u 200 -q 0 -c 0.1 -v 1000 -m 100 -s 2000 -g 64 -n 1000 -nk 1
chatbot.TUNE = --val-fraction 0.1 -b 16 -u 50 -v 500 -s 0
chatbot.LORA = --rank 16 --alpha 32 --epochs 5 -l 3e-3
chatbot.FULL = --full --dropout 0.1 --epochs 5 -l 1e-3

# OpenAI's 124M on tinyshakespeare: the 40 small steps of llm.c's train_gpt2.c.
gpt2_124M.TRAIN = -e gpt2_124M.bin -b 4 -t 64 -x 40 -l 1e-4 -v 10 -m 5 -s 20

# A model of Phi-1.5's architecture, trained on sentences as transformers' Trainer trains it. A step is TOTAL tokens, 4
# batches of 4 rows of 512.
phi.VOCAB = 32000
phi.PHI = --layers 4 --heads 4 --channels 128
phi.BATCH = 4
phi.T = 512
phi.TOTAL = 8192
phi.EPOCHS = 2
phi.WARMUP = 20
phi.EVERY = 200
phi.TRAIN = $(PHI) -b $(BATCH) -t $(T) -d $(TOTAL) --epochs $(EPOCHS) --trainer transformers --loss-on text -l 5e-4 -u $(WARMUP) -q 0 -c 0.1 --best-by accuracy -v $(EVERY) -n $(EVERY) -nk 5 -s $(EVERY)
