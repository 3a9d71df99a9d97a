"What a user does, in processes of its own: reproduce, be interrupted, use many processes, run out of disk."
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from vidseg.training.runs import Run

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
TRAIN = ['train', '--profile', 'smoke', '--scheme', 'TL', '--seed', '0',
         'steps=40', 'encoder_weights=null', 'model=pspnet_mobilenetv2_050', 'dropout=0.1']


@pytest.fixture
def root(tmp_path):
    "An empty root with the experiments in it."
    (tmp_path/'nbs').mkdir()
    shutil.copytree(REPO/'nbs'/'experiments', tmp_path/'nbs'/'experiments')
    for name in ('settings.ini', 'data_scripts'): (tmp_path/name).symlink_to(REPO/name)
    return tmp_path


def environment(root, **more):
    "Where commands run."
    return os.environ | dict(VIDSEG_ROOT=str(root), OMP_NUM_THREADS='1', PATH=f'{BIN}{os.pathsep}{os.environ["PATH"]}') | more


def run(root, *command, cpu=False, **options):
    where = environment(root, **(dict(ACCELERATE_USE_CPU='true') if cpu else {}))
    return subprocess.run([str(word) for word in command], cwd=root, env=where, capture_output=True, text=True, **options)


def start(root, command):
    "A process that runs on, in a session of its own."
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.Popen(command, cwd=root, env=environment(root), start_new_session=True, **silent)


def training(every=200, before=''):
    "A command that trains, with a checkpoint every so many steps; `before`: code that comes first."
    return [sys.executable, '-c', 'import vidseg.training.pipeline as p, vidseg.training.runs as r\n'
            f'p.train.__defaults__ = ({every}, *p.train.__defaults__[1:])\n{before}\n'
            f'from vidseg.use.commands import main; main({TRAIN})']


def prepare(root, *splits):
    for split in splits:
        done = run(root, sys.executable, '-c', f"from vidseg.training import Experiment; Experiment('smoke').prepare('{split}')")
        assert done.returncode == 0, done.stderr


def the_run(root, scheme='TL'): return Run(next((root/'runs').glob(f'{scheme}-s0-*')))


def graph(*more, data='street'):
    "The command of the graph."
    triggers = ['--rerun-triggers', 'input', 'mtime', 'params']
    config = ['--config', 'profile=smoke', f'data={data}', 'seeds=1']
    command = [str(BIN/'snakemake'), '--snakefile', str(REPO/'Snakefile'), '--cores', '2', '--rerun-incomplete', '--nolock']
    return [*command, *triggers, *more, *config]


def snakemake(root, *more, data='street'): return run(root, *graph(*more, data=data))


def executed(root):
    "Which experiment notebooks were run through papermill."
    return {Path(json.loads(path.read_text())['metadata']['papermill']['input_path']).stem for path in root.glob('runs/*/*.ipynb')}


def change(root, edit):
    "Change experiments.yaml: `edit` gets the smoke profile's settings of the street."
    file = root/'nbs'/'experiments'/'experiments.yaml'
    content = yaml.safe_load(file.read_text())
    edit(content['data_sets']['street']['profiles']['smoke'])
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def planned(plan):
    "The names of the jobs that a dry run lists, without their digests."
    outputs = [line.split('output:')[-1].strip() for line in (plan.stdout + plan.stderr).splitlines() if 'output:' in line]
    return {Path(output).name.rsplit('-', 1)[0].removesuffix('-etc') for output in outputs}


def test_reproduce(root):
    "Every experiment notebook runs through papermill; a second call does nothing; a changed recipe reruns only what depends on it."
    # complexity: one story, told once; each part needs what the part before it made
    for data in ('street', 'faces', 'actors'):
        done = snakemake(root, data=data)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    by_hand = run(root, BIN/'vidseg', 'run', 'evaluate', root/'runs'/'street-smoke'/'evaluate.ipynb', 'scheme=TL')
    assert by_hand.returncode == 0, by_hand.stderr
    templates = {path.stem for path in (REPO/'nbs'/'experiments').glob('*.ipynb')}
    assert executed(root) == templates, 'an experiment notebook is not in the graph'
    figures, tables = root/'runs'/'smoke'/'figures', [f'table_{n}' for n in (1, 2, 3, 4, 5, 6, 7)]
    drawn = [f'figure_{n}' for n in (1, 2, 5, 6, 'latency', 'smoothing')]
    names = {path.name for path in figures.iterdir()}
    assert {f'{table}.{suffix}' for table in [*tables, 'claims'] for suffix in ('csv', 'md', 'html')} <= names
    assert {*(f'{figure}.html' for figure in drawn), 'provenance.json'} <= names
    assert {'table_8.md', 'claims.md', 'figure_5.html'} <= {path.name for path in (figures/'faces').iterdir()}
    assert {'table_9.csv', 'claims.md', 'figure_tracks.html'} <= {path.name for path in (figures/'actors').iterdir()}
    fifth = pd.read_csv(figures/'table_5.csv').set_index('scheme')
    for method in ('CC', 'DFF', 'GRFP', 'DVSN', 'DVRL', 'Accel'):
        assert fifth.seeds[method] == 1 and fifth.miou[method] >= 0 and fifth.fps[method] > 0
    assert fifth.rank_R.min() == 1 and fifth.loc['NaiveS', 'miou_paper'] == 82.0 and fifth.seeds['NaiveS'] == 0
    assert 'quoted' in (figures/'table_5.md').read_text()
    rows = pd.read_csv(figures/'table_1.csv').set_index('scheme')
    assert len(rows) > 12 and (rows.seeds == 1).all() and rows.tc['TL'] > 0 and rows.tc_paper['TL'] == 70.46
    assert {*tables, *drawn, 'claims'} <= json.loads((figures/'provenance.json').read_text()).keys()
    again = snakemake(root)
    assert again.returncode == 0 and 'Nothing to be done' in again.stdout + again.stderr

    change(root, lambda smoke: smoke['weights'].update(PF=.7))
    plan = snakemake(root, '--dry-run', '--quiet', 'host')
    again = planned(plan)
    assert plan.returncode == 0 and {'PF', 'PF+MF', 'PL+PF+MF+TL'} <= again, plan.stderr[-2000:]
    untouched = {'baseline', 'TL', 'PL', 'teacher', 'teacher+TL', 'pretrain-baseline', 'CC', 'DFF'}
    assert not again & untouched, 'these do not depend on the weight of PF'


def small(street):
    "Two rows of Table I and trainings that are long enough to be interrupted."
    street |= dict(tables=['table_1'], schemes=['baseline', 'SF+PF+MF+TL', 'PL+PF+MF+TL', 'teacher+TL'], checkpoint_every=5)
    street['recipe']['steps'] = 25
    street['splits']['train_extra']['clips'] = 12


def descendants(pid):
    "A process and all that it started, whatever session they are in."
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try: parents.setdefault(int(stat.read_text().rsplit(')', 1)[1].split()[1]), []).append(int(stat.parent.name))
        except (OSError, IndexError): continue
    found = [pid]
    for each in found: found += parents.get(each, [])
    return found


def runs_of(root, scheme): return [Run(folder) for folder in root.glob(f'runs/{scheme}-s0-*')]


def begun(root, scheme):
    "Whether a run is in the middle of its training, with a checkpoint to go on from."
    return any(run.state != 'there' and run.checkpoints() for run in runs_of(root, scheme))


def interrupt(root, moment, has_come):
    "Start the graph, and kill it and all its jobs when a moment has come."
    process = start(root, graph())
    deadline = time.monotonic() + 600
    while not has_come() and process.poll() is None and time.monotonic() < deadline: time.sleep(.01)
    assert process.poll() is None, f'the graph ended before it could be interrupted ({moment})'
    for pid in descendants(process.pid):
        with contextlib.suppress(ProcessLookupError): os.kill(pid, signal.SIGKILL)
    process.wait()


def test_interrupted_anywhere(root, tmp_path_factory):
    "`kill -9` of the graph and all its jobs in every kind of job: the same table in the end."
    # complexity: asserts; the moments are functions of one line
    other = tmp_path_factory.mktemp('uninterrupted')
    shutil.copytree(root/'nbs', other/'nbs')
    for name in ('settings.ini', 'data_scripts'): (other/name).symlink_to(REPO/name)

    def unevaluated(): return any(run.state == 'there' and not run.metrics() for run in runs_of(root, 'PL+PF+MF+TL'))
    moments = dict(
        teacher=lambda: begun(root, 'teacher+TL'),
        pseudo=lambda: list(root.glob('data/pseudo-*.partial')),
        critic=lambda: begun(root, 'SF+PF+MF+TL'),
        student=lambda: begun(root, 'PL+PF+MF+TL'),
        evaluation=unevaluated,
    )
    tables = []
    for where, interruptions in ((other, {}), (root, moments)):
        change(where, small)
        for moment, has_come in interruptions.items(): interrupt(where, moment, has_come)
        done = snakemake(where)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        schemes = 'teacher+TL', 'SF+PF+MF+TL', 'PL+PF+MF+TL'
        resumed = {scheme: max(run.provenance['resumed_from'] for run in runs_of(where, scheme)) for scheme in schemes}
        assert all((step > 0) == bool(interruptions) for step in resumed.values()), f'resumed from {resumed}'
        tables.append((where/'runs'/'smoke'/'figures'/'table_1.csv').read_text())
    assert tables[0] == tables[1]


def test_killed_and_resumed(root):
    "`kill -9` in the middle of a training, then the same command: the same weights, bit for bit. The log has each step once."
    # complexity: asserts, and one loop that waits
    prepare(root, 'train')
    assert run(root, *training(7)).returncode == 0
    reference, log = the_run(root).state_dict(), the_run(root).log_file.read_text()
    shutil.rmtree(root/'runs')
    process = start(root, training(7))
    deadline, seen = time.monotonic() + 300, []
    def interrupted(): return list(root.glob('runs/TL-s0-*/checkpoint-0000014'))
    while not interrupted() and process.poll() is None and time.monotonic() < deadline:
        if list(root.glob('runs/TL-s0-*/log.csv')): seen.append([row['step'] for row in the_run(root).log()])
        time.sleep(.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert the_run(root).state == 'begun', 'it was not interrupted'
    after_death = [row['step'] for row in the_run(root).log()]
    assert all(steps == list(range(len(steps))) for steps in [*seen, after_death]), 'each step once'
    assert len(after_death) >= 14, 'at least what the checkpoint has'
    assert run(root, *training(7)).returncode == 0
    resumed = the_run(root).state_dict()
    assert resumed.keys() == reference.keys() and all(torch.equal(resumed[k], reference[k]) for k in reference)
    assert the_run(root).log_file.read_text() == log, 'the log has every step once'
    assert the_run(root).provenance['resumed_from'] >= 14, 'it began anew instead of going on'


def test_two_processes(root):
    """Two processes give the loss curve of one, on the same global batch (dropout off: its masks are drawn per process).

    In double precision, where equal means equal: in single precision, rounding errors grow a thousandfold a step at first."""
    prepare(root, 'train')
    change(root, lambda smoke: smoke['networks']['teacher'].update(model=smoke['recipe']['model']))
    arguments = ['train', '--profile', 'smoke', '--scheme', 'PF+MF+TL', '--seed', '0', 'steps=5', 'dropout=0']
    script = f'import torch\ntorch.set_default_dtype(torch.float64)\nfrom vidseg.use.commands import main\nmain({arguments})\n'
    (root/'double.py').write_text(script)
    curves = []
    for processes, launcher in ((1, [sys.executable]), (2, [BIN/'torchrun', '--nproc_per_node', 2, '--master_port', 29517])):
        done = run(root, *launcher, 'double.py', cpu=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        made = the_run(root, 'PF+MF+TL')
        assert made.provenance['processes'] == processes
        curves.append(pd.DataFrame(made.log()))
        shutil.rmtree(made.folder)       # pretraining and teacher stay, so that both start from the same
    one, two = curves
    assert len(one) == len(two) == 5 and one.total.nunique() == 5
    for term in ('total', 'cross_entropy', 'temporal', 'pairwise_frame', 'multi_frame', 'multi_frame guard'):
        apart = (one[term] - two[term]).abs().max()
        assert apart < 1e-6*one[term].abs().max(), f'{term}:\n{one[term].tolist()}\n{two[term].tolist()}'


FULL_DISK = '''import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
keep = r.Run.save_checkpoint
def save(run, step, *rest, **about):  # from step 10 on no file grows beyond 300 kB
    if step == 10: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    keep(run, step, *rest, **about)
r.Run.save_checkpoint = save'''


def test_full_disk(root):
    "A checkpoint that does not fit on the disk: one clear line, and the previous checkpoint survives and can be resumed."
    prepare(root, 'train')
    done = run(root, *training(5, FULL_DISK))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'checkpoint-0000010: the checkpoint could not be written' in last and 'checkpoint-0000005 is kept' in last, done.stderr[-2000:]
    assert [path.name for path in the_run(root).checkpoints()] == ['checkpoint-0000005']
    assert run(root, *training()).returncode == 0
    assert the_run(root).provenance['resumed_from'] == 5


def test_clear_lines(root):
    "A misspelt parameter, profile, data set or missing folder: one line on the command line."
    for command, word in ((['run', 'train', 'out.ipynb', 'sead=1'], "no parameter 'sead'"),
                          (['run', 'trian', 'out.ipynb'], 'known are claims'),
                          (['train', '--profile', 'huge'], 'known are smoke'),
                          (['train', '--profile', 'smoke', 'steps=many'], 'whole number'),
                          (['plan', '--profile', 'smoke', '--seeds', 'few'], 'give a number')):
        done = run(root, BIN/'vidseg', *command)
        assert done.returncode == 1 and word in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for config, word in ((['profile=huge'], "profile 'huge' is unknown"), (['profile=mini', 'data=camvid'], 'needs CAMVID='),
                         (['profile=paper', 'data=cityscapes'], 'python data_scripts/cityscapes.py'), (['seeds=few'], 'give a number')):
        done = run(root, BIN/'snakemake', '--snakefile', REPO/'Snakefile', '--cores', 1, '--config', *config)
        assert done.returncode != 0 and word in done.stdout + done.stderr, done.stderr
