# The front door:
#
#   make            builds everything and leaves the programs here
#   make run        the whole line on a small corpus of its own: text → tokenizer → tokens → GPT-2 → samples
#   make run TEXT=book.txt [VOCAB=4096] [DOCUMENT=blank|line|file] [STEPS=500] [BATCH=16] [T=256]
#                   the same with your text (each run replaces data/)
#   make test       format, build, tests, and the model against PyTorch's reference
#   make test-widths    the tests at the other SIMD widths
#   make test-kill  a run that is killed again and again ends in the same bytes
#   make bench      what the kernels reach of what this machine allows
#   make clean
#
# LLM_CPU=x86-64-v3 builds for another processor than this one.

PROGRAMS = lotto train_tokenizer tokenize train_gpt2 generate test_gpt2

LLM_CPU ?= native
SCRATCH = .build$(if $(filter-out native,$(LLM_CPU)),-$(LLM_CPU))
SWIFT_OPTIONS = -c release --scratch-path $(SCRATCH)
export LLM_CPU

BATCH ?= 16
T ?= 256
VOCAB ?= $(if $(TEXT),4096,512)
DOCUMENT ?= blank
STEPS ?= 500
# The same as train_gpt2 takes without options, but for -y: a run of `make run` starts over.
TRAIN = -o data/model -y 0 --layers 4 --heads 4 --channels 128 -b $(BATCH) -t $(T) -x $(STEPS) \
	-l 2e-3 -u 20 -q 0.1 -c 0.1 -v 50 -s 100 -g 256 -n 100 -nk 2

.PHONY: all run test test-widths test-kill bench clean $(PROGRAMS)

all:
	swift build $(SWIFT_OPTIONS)
	@for program in $(PROGRAMS); do cp -f $(SCRATCH)/release/$$program . || exit 1; done
	@echo "built: $(PROGRAMS); next: make run"

$(PROGRAMS):
	swift build $(SWIFT_OPTIONS) --product $@
	@cp -f $(SCRATCH)/release/$@ .

run: all
ifdef TEXT
	./train_tokenizer --input "$(TEXT)" --vocab-size $(VOCAB) --output data
	./tokenize --tokenizer data --input "$(TEXT)" --document $(DOCUMENT) --val-fraction 0.05 --output data
else
	./lotto generate --output data
	./train_tokenizer --input data/lotto_train.txt --vocab-size $(VOCAB) --output data
	./tokenize --tokenizer data --input data/lotto_train.txt --val-input data/lotto_val.txt --output data
endif
	./train_gpt2 $(TRAIN)

test:
	swift format lint --strict --recursive Package.swift Sources Tests dev
	swift build $(SWIFT_OPTIONS) --build-tests
	swift test $(SWIFT_OPTIONS) --skip-build
	$(SCRATCH)/release/test_gpt2

# Slower: everything is built again for AVX2 (8 floats) and for SSE (4). `make test` has the width of this machine.
test-widths:
	LLM_CPU=x86-64-v3 swift test -c release --scratch-path .build-x86-64-v3 --filter KernelsTests
	LLM_CPU=x86-64-v2 swift test -c release --scratch-path .build-x86-64-v2 --filter KernelsTests

test-kill: all
	dev/test_kill.sh

bench:
	swift build $(SWIFT_OPTIONS) --product bench
	$(SCRATCH)/release/bench

clean:
	rm -rf .build .build-*
	rm -f $(PROGRAMS)
