# The commands:
#
#   make            builds everything and leaves the programs here
#   make run        the whole pipeline on a corpus of its own, the lottery machine: text → tokens → GPT-2 → score
#   make lotto-long the same for up to ten tickets, in data/long: some twenty minutes
#   make lora       an adapter that teaches the lottery machine of `make run` another rule, in data/lora
#   make run TEXT=book.txt [MINUTES=5] [DOCUMENT=blank|line|file] [VOCAB=4096] [STEPS=500] [BATCH=16] [T=256]
#                   the same with your text, up to samples (each run replaces data/); all that is not given suits the
#                   text and the minutes to train in
#   make resume     goes on with a `make run` that was stopped while it trained
#   make chatbot TEXT=texts DATA=chat.csv
#                   a GPT-2 of your texts (a file or a folder of them, a document on each line), tuned to answer, as
#                   an adapter and as a whole, in data/chatbot: some 25 minutes
#   make tutorial TEXT=sentences.txt [VOCAB=32000] [PHI="--layers 6 …"] [EPOCHS=2] [T=512] [ROWS=padded]
#                   a tokenizer with ##, and a model of Phi-1.5's architecture, in data/phi: dev/doc/phi.md
#   make exercise   the exercises; make exercise N=gelu is the project without that body, in exercise/gelu, and
#                   make exercise N=gelu HINT=1 a hint: dev/doc/EXERCISES.md
#   make test       format, build, tests, and the model against PyTorch's reference
#   make test-gradients    GPT-2's gradients against the naive model's: after a change to the model (dev/doc/CHANGING.md)
#   make test-widths    the tests at the other SIMD widths
#   make test-kill  a run that is killed again and again ends in the same bytes
#   make test-mpi   runs of several processes, with each MPI library that is here: as one process, and when they fail
#   make test-threads   small runs of all programs under the thread sanitizer
#   make test-exercises [N=gelu]   each exercise is red without its body and green with it
#   make bench      the speed of each kernel against this machine's limit; with TEXT=…, the tokenizer's too
#   make fuzz       a minute of damaged files and hard texts
#   make clean
#   make help       this list
#
# THREADS=1 trains with so many threads. LLM_CPU=x86-64-v3 builds for a different processor.

PROGRAMS = lotto train_tokenizer tokenize train_gpt2 train_phi train_bert finetune generate chat peek embed grow convert \
	test_gpt2 test_phi test_bert

LLM_CPU ?= native
SCRATCH = .build$(if $(filter-out native,$(LLM_CPU)),-$(LLM_CPU))
# On a terminal the compilers would be told to colour, and everything be built again for it.
SWIFT_OPTIONS = -c release --scratch-path $(SCRATCH) --no-color-diagnostics
export LLM_CPU

DOCUMENT ?= blank
# The settings of what `make run` trains; train_gpt2 without options takes them from there, too.
include Sources/LLM/Training/recipes.mk

# A misspelt variable would be ignored, and `make run` replaces what is in data/.
VARIABLES = TEXT DATA DOCUMENT MINUTES VOCAB BATCH T STEPS EVERY WARMUP EPOCHS TOTAL PHI ROWS PROMPT THREADS LLM_CPU N HINT
MISSPELT = $(strip $(foreach v,$(filter-out $(VARIABLES),$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(v)))),$(v))))
ifneq ($(filter-out MAKE%,$(MISSPELT)),)
$(error there is no variable $(MISSPELT); there are $(VARIABLES))
endif
# So would a text that is given without its name, or an empty one, and a number that is none fails late.
GOALS = all help swift run resume tutorial lotto-long lora chatbot test test-gradients test-widths test-kill test-mpi test-threads exercise test-exercises bench fuzz clean
STRANGE = $(filter-out $(GOALS) $(PROGRAMS),$(MAKECMDGOALS))
ifneq ($(STRANGE),)
$(error there is no goal $(STRANGE); an exercise is given as make exercise N=gelu; a text is given as make run TEXT=book.txt, in quotes if there is a space in its name; make help lists the goals)
endif
GIVEN_VARIABLES = $(strip $(foreach v,$(VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(v))))
EMPTY = $(strip $(foreach v,$(GIVEN_VARIABLES),$(if $(strip $($(v))),,$(v))))
ifneq ($(EMPTY),)
$(error $(EMPTY) is empty; there is no space around the = in $(firstword $(EMPTY))=…)
endif
ifneq ($(filter resume,$(MAKECMDGOALS)),)
ifneq ($(filter-out THREADS LLM_CPU,$(GIVEN_VARIABLES)),)
$(error make resume goes on as the run was started and takes only THREADS; for more steps: ./train_gpt2 -o data/model -y 1 -x N)
endif
endif
ifneq ($(filter N HINT,$(GIVEN_VARIABLES)),)
ifeq ($(filter exercise test-exercises,$(MAKECMDGOALS)),)
$(error N and HINT are for make exercise N=gelu)
endif
ifeq ($(N),)
$(error HINT is for an exercise: make exercise N=gelu HINT=1)
endif
endif
ifneq ($(filter TEXT,$(GIVEN_VARIABLES)),)
ifeq ($(filter run chatbot tutorial bench,$(MAKECMDGOALS)),)
$(error TEXT is for make run, chatbot, tutorial and bench: make run TEXT=book.txt)
endif
endif
ifeq ($(filter $(DOCUMENT),blank line file),)
$(error DOCUMENT is blank, line or file)
endif
# What is left of MINUTES without digits and a point.
NO_NUMBER = $(subst 0,,$(subst 1,,$(subst 2,,$(subst 3,,$(subst 4,,$(subst 5,,$(subst 6,,$(subst 7,,$(subst 8,,$(subst \
	9,,$(subst .,,$(MINUTES))))))))))))
ifneq ($(filter MINUTES,$(GIVEN_VARIABLES)),)
ifneq ($(NO_NUMBER)$(filter 0 0.0 .,$(MINUTES)),)
$(error MINUTES takes a number such as 5 or 0.5)
endif
endif
# Not every shell replaces the ~ of TEXT=~/book.txt.
override TEXT := $(patsubst ~/%,$(HOME)/%,$(TEXT))
override DATA := $(patsubst ~/%,$(HOME)/%,$(DATA))
RECIPE = $(if $(filter tutorial,$(MAKECMDGOALS)),phi,$(if $(filter chatbot,$(MAKECMDGOALS)),chatbot,$(if $(TEXT),text,lotto)))
ifneq ($(filter command,$(firstword $(origin MINUTES))),)
ifneq ($(RECIPE),text)
$(error MINUTES is for a text of your own: make run TEXT=book.txt MINUTES=5)
endif
endif
VOCAB ?= $($(RECIPE).VOCAB)
BATCH ?= $($(RECIPE).BATCH)
TOTAL ?= $($(RECIPE).TOTAL)
PHI ?= $($(RECIPE).PHI)
EPOCHS ?= $($(RECIPE).EPOCHS)
WARMUP ?= $($(RECIPE).WARMUP)
T ?= $($(RECIPE).T)
STEPS ?= $($(RECIPE).STEPS)
EVERY ?= $($(RECIPE).EVERY)
MINUTES ?= $($(RECIPE).MINUTES)
TRAIN = $($(RECIPE).TRAIN) $(if $(filter text,$(RECIPE)),$(GIVEN)) $(if $(THREADS),--threads $(THREADS))
# What of the choices for one's own text is made by the user.
GIVEN = $(if $(BATCH),-b $(BATCH)) $(if $(T),-t $(T)) $(if $(STEPS),-x $(STEPS))

.PHONY: $(GOALS) $(PROGRAMS)

all: swift
	swift build $(SWIFT_OPTIONS)
	@for program in $(PROGRAMS); do cp -f $(SCRATCH)/release/$$program . || exit 1; done
	@echo "built: $(PROGRAMS); next: make run"

# The lines above the first that is no comment.
help:
	@sed -n -e '/^#/!q' -e 's/^# \{0,1\}//p' Makefile

SWIFT_NEEDED = 6.2
swift:
	@command -v swift >/dev/null || { echo 'error: there is no swift here, and $(SWIFT_NEEDED) or later is needed' >&2; \
		echo 'hint: https://www.swift.org/install says how to get it' >&2; exit 1; }
	@version=$$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p' | head -n 1); \
		oldest=$$(printf '%s\n' "$$version" $(SWIFT_NEEDED) | sort -t . -k 1,1n -k 2,2n | head -n 1); \
		test "$$oldest" = $(SWIFT_NEEDED) || { echo "error: Swift $$version is here, and $(SWIFT_NEEDED) or later is needed" >&2; \
		echo 'hint: https://www.swift.org/install says how to get it' >&2; exit 1; }

$(PROGRAMS): swift
	swift build $(SWIFT_OPTIONS) --product $@
	@cp -f $(SCRATCH)/release/$@ .

run: all
ifdef TEXT
	rm -rf data/new
	./train_tokenizer --input "$(TEXT)" --vocab-size $(VOCAB) --output data/new
	./tokenize --tokenizer data/new --input "$(TEXT)" --document $(DOCUMENT) --val-fraction 0.05 --output data/new
	$(call place,data,train_gpt2,$(TRAIN))
	rm -f data/lotto_*
	./train_gpt2 -o data/model -y 0 $(TRAIN) $(OR_RESUME)
	@echo '$(NEXT)'
else
	$(call lotto,data,5)
endif

NEXT = next: ./generate --prompt "the beginning of a text"
# After Ctrl-C.
OR_RESUME = || { code=$$?; test $$code != 130 || echo 'hint: or continue with make resume' >&2; exit $$code; }

# With the options of its start, which are in the checkpoint.
resume: all
	@test -d data/model || { echo 'error: there is no run in data/model' >&2; echo 'hint: make run' >&2; exit 2; }
	./train_gpt2 -o data/model -y 1 $(if $(THREADS),--threads $(THREADS)) $(OR_RESUME)
	@if test -f data/lotto_train.txt; then $(call score,data,5); else echo '$(NEXT)'; fi

# A tutorial from a text with a sentence on each line; each step is explained in dev/doc/phi.md.
PROMPT ?= 밥을 먹고 나면 늘 하는 생각이 있는데
tutorial: all
	@test -n "$(TEXT)" || { echo 'error: no text\nhint: make tutorial TEXT=sentences.txt' >&2; exit 2; }
	rm -rf data/phi/new
	./train_tokenizer --input "$(TEXT)" --scheme prefix --vocab-size $(VOCAB) --output data/phi/new
	./tokenize --tokenizer data/phi/new --input "$(TEXT)" --document line --val-fraction 0.001 --seed 42 \
		$(if $(filter padded,$(ROWS)),--row-length $(T) --cut) --output data/phi/new
	$(call place,data/phi,train_phi,$(TRAIN))
	./train_phi -i 'data/phi/train_*.bin' -o data/phi/model -y 0 $(TRAIN)
	./generate --model data/phi/model/best --prompt "$(PROMPT)" --num-samples 10 --repetition-penalty 2.0

# Text, tokenizer and shards are made in $(1)/new. They take the place of what is in $(1) only when the training that is
# to follow, by $(2) with the options $(3), has nothing against them, so a mistake costs no earlier run its tokenizer.
define place
	./$(2) --dry-run -i '$(1)/new/train_*.bin' -o $(1)/model -y 0 $(3) >/dev/null
	rm -f $(1)/train_*.bin $(1)/val_*.bin
	mv -f $(1)/new/* $(1)/
	rmdir $(1)/new
endef

# $(1) the folder, $(2) the most tickets in a question
define lotto
	rm -rf $(1)/new
	./lotto generate --count $$(($(STEPS) * $(BATCH))) --val-count 1000 --max-tickets $(2) --output $(1)/new
	./train_tokenizer --input $(1)/new/lotto_train.txt --vocab-size $(VOCAB) --output $(1)/new
	./tokenize --tokenizer $(1)/new --input $(1)/new/lotto_train.txt --val-input $(1)/new/lotto_val.txt \
		--row-length $(T) --output $(1)/new
	$(call place,$(1),train_gpt2,$(TRAIN))
	./train_gpt2 -i '$(1)/train_*.bin' -j '$(1)/val_*.bin' -o $(1)/model -y 0 $(TRAIN) $(if $(filter data,$(1)),$(OR_RESUME))
	$(call score,$(1),$(2))
endef

score = ./lotto score --model $(1)/model/model_0*.bin --tokenizer $(1) --train $(1)/lotto_train.txt --max-tickets $(2) --chart $(1)/lotto_score.svg

lotto-long: T = $(lotto-long.T)
lotto-long: STEPS = $(lotto-long.STEPS)
lotto-long: EVERY = $(lotto-long.EVERY)
lotto-long: all
	$(call lotto,data/long,10)

# The lottery machine is made first if there is no model. A model of another text is not replaced.
lora: all $(if $(wildcard data/model),,run)
	@test -f data/lotto_train.txt || { echo 'error: data/model is not the lottery machine' >&2; \
		echo 'hint: make run replaces it by one' >&2; exit 2; }
	rm -rf data/lora
	./lotto generate --count $(lora.COUNT) --val-count 500 --seed 43 $(lora.RULE) --conversations --output data/lora
	./finetune --model $(LORA_BASE) --template data/lora/lotto_template.json -i data/lora/lotto_train.jsonl \
		-j data/lora/lotto_val.jsonl -o data/lora/adapter -y 0 $(lora.TRAIN)
	# The base under its own rule, the base under the other one, and the base with the adapter.
	./lotto score --model $(LORA_BASE) --train data/lotto_train.txt --failures 0
	./lotto score --model $(LORA_BASE) --train data/lotto_train.txt --failures 1 $(lora.RULE)
	./lotto score --adapter data/lora/adapter/best --train data/lora/lotto_train.jsonl $(lora.RULE)

# The last checkpoint.
LORA_BASE = $$(ls data/model/model_0*.bin | tail -n 1)

# The whole way, in two tunings of one model, to compare. Each prints its loss on the held-out answers before and after.
chatbot: all
	@test -n "$(TEXT)" && test -n "$(DATA)" || { echo 'error: no text, or no questions and answers' >&2; \
		echo 'hint: make chatbot TEXT=texts DATA=chat.csv' >&2; exit 2; }
	@test -f "$(DATA)" || { echo 'error: there is no file $(DATA)' >&2; exit 2; }
	rm -rf data/chatbot/new
	./train_tokenizer --input "$(TEXT)" --vocab-size $(VOCAB) --output data/chatbot/new
	./tokenize --tokenizer data/chatbot/new --input "$(TEXT)" --document line --val-fraction 0.005 --output data/chatbot/new
	$(call place,data/chatbot,train_gpt2,$(TRAIN))
	./train_gpt2 -i 'data/chatbot/train_*.bin' -j 'data/chatbot/val_*.bin' -o data/chatbot/model -y 0 $(TRAIN)
	./finetune --model data/chatbot/model/model_best.bin --data "$(DATA)" -o data/chatbot/adapter -y 0 $(chatbot.TUNE) $(chatbot.LORA)
	./finetune --model data/chatbot/model/model_best.bin --data "$(DATA)" -o data/chatbot/full -y 0 $(chatbot.TUNE) $(chatbot.FULL)
	@echo 'next: ./chat --adapter data/chatbot/adapter/best, or ./chat --model data/chatbot/full/best'

test:
	swift format lint --strict --recursive Package.swift Sources Tests dev
	swift build $(SWIFT_OPTIONS) --build-tests
	swift test $(SWIFT_OPTIONS) --skip-build
	$(SCRATCH)/release/test_gpt2
	$(SCRATCH)/release/test_phi
	$(SCRATCH)/release/test_bert
	dev/test_kill.sh 12 1 $(SCRATCH)/release

# A part of `make test` that needs no reference of others: the twins in Tests/Naive judge the kernels and the model.
test-gradients:
	swift build $(SWIFT_OPTIONS) --build-tests
	swift test $(SWIFT_OPTIONS) --skip-build --filter GradientTests

# Slower: everything is built again for AVX2 (8 floats) and for SSE (4). `make test` has the width of this machine.
test-widths:
	LLM_CPU=x86-64-v3 swift test -c release --scratch-path .build-x86-64-v3 --filter KernelsTests
	LLM_CPU=x86-64-v2 swift test -c release --scratch-path .build-x86-64-v2 --filter KernelsTests

test-kill: all
	dev/test_kill.sh 200 50 .

test-mpi: all
	dev/test_mpi.sh .
	dev/test_mpi_failures.sh 5 .

# The thread sanitizer over the whole pipeline. Built again, with the sanitizer in it.
test-threads:
	for program in lotto train_tokenizer tokenize train_gpt2 train_phi train_bert finetune generate embed; do LLM_SANITIZE=thread \
		swift build -c release --scratch-path .build-threads --sanitize=thread --product $$program || exit 1; done
	dev/test_threads.sh .build-threads/release

# A copy of the project without one body, and what to do with it. Without N, the list.
exercise:
	@dev/exercise.sh $(if $(N),$(if $(HINT),hint $(N) $(HINT),new $(N)),list)

# Slower: three builds of a copy, in .build-exercises.
test-exercises:
	dev/exercise.sh test $(N)

bench:
	swift build $(SWIFT_OPTIONS) --product bench
	$(SCRATCH)/release/bench $(if $(TEXT),--text "$(TEXT)")

fuzz:
	swift build $(SWIFT_OPTIONS) --product fuzz
	$(SCRATCH)/release/fuzz 60

clean:
	rm -rf .build .build-*
	rm -f $(PROGRAMS)
