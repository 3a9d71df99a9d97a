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
from safetensors.torch import load_file

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
TRAIN = ['profile=smoke', 'scheme=TL', 'seed=0', 'steps=40', 'encoder_weights=null', 'model=pspnet_mobilenetv2_050', 'dropout=0.1']


@pytest.fixture
def root(tmp_path):
    "An empty root with the experiments in it."
    (tmp_path/'nbs').mkdir()
    shutil.copytree(REPO/'nbs'/'experiments', tmp_path/'nbs'/'experiments')
    for name in ('settings.ini', 'data_scripts'): (tmp_path/name).symlink_to(REPO/name)
    return tmp_path


def run(root, *command, threads=1, cpu=False, **options):
    environment = {**os.environ, **({'ACCELERATE_USE_CPU': 'true'} if cpu else {}), 'VIDSEG_ROOT': str(root), 'OMP_NUM_THREADS': str(threads), 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}
    return subprocess.run([str(c) for c in command], cwd=root, env=environment, capture_output=True, text=True, **options)


def prepare(root, *splits):
    for split in splits:
        done = run(root, sys.executable, '-c', f"from vidseg.training.experiments import Experiment; Experiment('smoke').prepare('{split}')")
        assert done.returncode == 0, done.stderr


def the_run(root, scheme='TL'): return next((root/'runs').glob(f'{scheme}-s0-*'))


def made_by(root, scheme='TL'): return json.loads((the_run(root, scheme)/'provenance.json').read_text())


def snakemake(root, *more, data='street'):
    return run(root, BIN/'snakemake', '--snakefile', REPO/'Snakefile', '--cores', 2, '--rerun-incomplete', '--nolock', '--rerun-triggers', 'input', 'mtime', 'params', *more,
               '--config', 'profile=smoke', f'data={data}', 'seeds=1')


def executed(root):
    "Which experiment notebooks were run through papermill."
    return {Path(json.loads(path.read_text())['metadata']['papermill']['input_path']).stem for path in root.glob('runs/*/*.ipynb')}


def test_reproduce(root):
    "Every experiment notebook runs through papermill; a second call does nothing; a changed recipe reruns only what depends on it."
    for data in ('street', 'faces'):
        done = snakemake(root, data=data)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    evaluated = run(root, BIN/'vidseg-run', 'evaluate', root/'runs'/'street-smoke'/'evaluate.ipynb', 'scheme=TL')   # the one that is for use by hand
    assert evaluated.returncode == 0, evaluated.stderr
    assert executed(root) == {path.stem for path in (REPO/'nbs'/'experiments').glob('*.ipynb')}, 'an experiment notebook is not in the graph'
    figures, tables, drawn = root/'runs'/'smoke'/'figures', [f'table_{n}' for n in (1, 2, 3, 4, 5, 6, 7)], [f'figure_{n}' for n in (1, 2, 5, 6, 'latency')]
    names = {path.name for path in figures.iterdir()}
    assert {f'{table}.{suffix}' for table in [*tables, 'claims'] for suffix in ('csv', 'md', 'html')} | {f'{figure}.html' for figure in drawn} | {'provenance.json'} <= names
    assert {'table_8.md', 'claims.md', 'figure_5.html'} <= {path.name for path in (figures/'faces').iterdir()}
    peers = pd.read_csv(figures/'table_5.csv').set_index('scheme')
    for method in ('CC', 'DFF', 'GRFP', 'DVSN', 'DVRL', 'Accel'): assert peers.seeds[method] == 1 and peers.miou[method] >= 0 and peers.fps[method] > 0
    assert peers.rank_R.min() == 1 and peers.loc['NaiveS', 'miou_paper'] == 82.0 and peers.seeds['NaiveS'] == 0 and 'quoted' in (figures/'table_5.md').read_text()
    rows = pd.read_csv(figures/'table_1.csv').set_index('scheme')
    assert len(rows) == 12 and (rows.seeds == 1).all() and rows.tc['TL'] > 0 and rows.tc_paper['TL'] == 70.46
    assert {*tables, *drawn, 'claims'} <= json.loads((figures/'provenance.json').read_text()).keys()
    again = snakemake(root)
    assert again.returncode == 0 and 'Nothing to be done' in again.stdout + again.stderr

    file = root/'nbs'/'experiments'/'experiments.yaml'
    content = yaml.safe_load(file.read_text())
    content['profiles']['smoke']['street']['weights']['PF'] = 0.7
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    plan = snakemake(root, '--dry-run', '--quiet', 'host')
    again = {Path(line.split('output:')[-1].strip()).name.rsplit('-', 1)[0].removesuffix('-etc') for line in plan.stdout.splitlines() + plan.stderr.splitlines() if 'output:' in line}
    assert plan.returncode == 0 and {'PF', 'PF+MF', 'PL+PF+MF+TL'} <= again, plan.stderr[-2000:]
    assert not again & {'baseline', 'TL', 'PL', 'teacher', 'teacher+TL', 'pretrain@student', 'CC', 'DFF'}, 'these do not depend on the weight of PF'


def small_graph(root):
    "The experiments with two rows of Table I and trainings that are long enough to be interrupted."
    file = root/'nbs'/'experiments'/'experiments.yaml'
    content = yaml.safe_load(file.read_text())
    street = content['profiles']['smoke']['street']
    street |= dict(tables=['table_1'], schemes=['baseline', 'SF+PF+MF+TL', 'PL+PF+MF+TL', 'teacher+TL'], recipe=street['recipe'] | dict(steps=25), checkpoint_every=5)
    street['splits']['train_extra']['clips'] = 12
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def test_interrupted_anywhere(root, tmp_path_factory):
    "`kill -9` of the graph and all its jobs in the teacher's training, the pseudo labels, the student's training and its evaluation: the same table in the end."
    other = tmp_path_factory.mktemp('uninterrupted')
    shutil.copytree(root/'nbs', other/'nbs')
    for name in ('settings.ini', 'data_scripts'): (other/name).symlink_to(REPO/name)
    tables = []
    for where in (other, root):
        small_graph(where)
        def unfinished(scheme): return any(not (folder/'model.safetensors').exists() for folder in where.glob(f'runs/{scheme}-s0-*'))
        def unevaluated(scheme): return any((folder/'model.safetensors').exists() and not (folder/'metrics.json').exists() for folder in where.glob(f'runs/{scheme}-s0-*'))
        def begun(scheme): return unfinished(scheme) and list(where.glob(f'runs/{scheme}-s0-*/checkpoint-*0'))    # has a checkpoint to go on from
        moments = dict(teacher=lambda: begun('teacher+TL'), pseudo=lambda: list(where.glob('data/pseudo-*.partial')), critic=lambda: begun('SF+PF+MF+TL'),
                       student=lambda: begun('PL+PF+MF+TL'),
                       evaluation=lambda: unevaluated('PL+PF+MF+TL')) if where == root else {}
        for moment, has_come in moments.items():
            environment = {**os.environ, 'VIDSEG_ROOT': str(where), 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}
            process = subprocess.Popen([BIN/'snakemake', '--snakefile', REPO/'Snakefile', '--cores', '2', '--rerun-incomplete', '--nolock', '--config', 'profile=smoke', 'data=street', 'seeds=1'],
                                       cwd=where, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            deadline = time.monotonic() + 600
            while not has_come() and process.poll() is None and time.monotonic() < deadline: time.sleep(.01)
            assert process.poll() is None, f'the graph ended before it could be interrupted ({moment})'
            for pid in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError): os.kill(pid, signal.SIGKILL)
            process.wait()
        done = snakemake(where)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        resumed = {scheme: max(json.loads(path.read_text())['resumed_from'] for path in where.glob(f'runs/{scheme}-s0-*/provenance.json')) for scheme in ('teacher+TL', 'SF+PF+MF+TL', 'PL+PF+MF+TL')}
        assert all((step > 0) == bool(moments) for step in resumed.values()), f'resumed from {resumed}'
        tables.append((where/'runs'/'smoke'/'figures'/'table_1.csv').read_text())
    assert tables[0] == tables[1]


def descendants(pid):
    "A process and all that it started, whatever session they are in."
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try: parents.setdefault(int(stat.read_text().rsplit(')', 1)[1].split()[1]), []).append(int(stat.parent.name))
        except (OSError, IndexError): continue
    found = [pid]
    for each in found: found += parents.get(each, [])
    return found


def test_killed_and_resumed(root):
    "`kill -9` in the middle of a training, then the same command: the weights are those of an uninterrupted run, bit for bit."
    prepare(root, 'train')
    command = [sys.executable, '-c', f"import vidseg.training.pipeline as p; p.train.__defaults__ = (7, *p.train.__defaults__[1:]); p.main({TRAIN})"]
    assert run(root, *command).returncode == 0
    reference, log = load_file(the_run(root)/'model.safetensors'), (the_run(root)/'log.csv').read_text()
    shutil.rmtree(root/'runs')
    environment = {**os.environ, 'VIDSEG_ROOT': str(root), 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(root.glob('runs/TL-s0-*/checkpoint-0000014')) and process.poll() is None and time.monotonic() < deadline: time.sleep(.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (the_run(root)/'model.safetensors').exists(), 'it was not interrupted'
    assert run(root, *command).returncode == 0
    resumed = load_file(the_run(root)/'model.safetensors')
    assert resumed.keys() == reference.keys() and all(torch.equal(resumed[k], reference[k]) for k in reference)
    assert (the_run(root)/'log.csv').read_text() == log, 'the log has every step once'
    assert made_by(root)['resumed_from'] >= 14, 'it began anew instead of going on'


def test_two_processes(root):
    """Two processes give the loss curve of one, on the same global batch (dropout off: its masks are drawn per process).

    In double precision, where equal means equal: in single precision, rounding errors grow a thousandfold a step at the start of a training."""
    prepare(root, 'train')
    file = root/'nbs'/'experiments'/'experiments.yaml'
    content = yaml.safe_load(file.read_text())
    content['profiles']['smoke']['street']['networks']['teacher']['model'] = content['profiles']['smoke']['street']['recipe']['model']
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    settings = ['profile=smoke', 'scheme=PF+MF+TL', 'seed=0', 'steps=5', 'dropout=0']
    (root/'double.py').write_text(f"import torch\ntorch.set_default_dtype(torch.float64)\nimport vidseg.training.pipeline as p\np.main({settings})\n")
    curves = []
    for processes, launcher in ((1, [sys.executable]), (2, [BIN/'torchrun', '--nproc_per_node', 2, '--master_port', 29517])):
        done = run(root, *launcher, 'double.py', cpu=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        assert made_by(root, 'PF+MF+TL')['processes'] == processes
        curves.append(pd.read_csv(the_run(root, 'PF+MF+TL')/'log.csv'))
        shutil.rmtree(the_run(root, 'PF+MF+TL'))       # pretraining and teacher stay, so that both start from the same
    one, two = curves
    assert len(one) == len(two) == 5 and one.total.nunique() == 5
    for term in ('total', 'cross_entropy', 'temporal', 'pairwise_frame', 'multi_frame'):
        assert (one[term] - two[term]).abs().max() < 1e-6*one[term].abs().max(), f'{term}:\n{one[term].tolist()}\n{two[term].tolist()}'


def test_full_disk(root):
    "A checkpoint that does not fit on the disk: one clear line, and the previous checkpoint survives and can be resumed."
    prepare(root, 'train')
    code = ("import resource, signal, vidseg.training.pipeline as p, vidseg.training.training as t\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "t.train.__defaults__ = (5, *t.train.__defaults__[1:])\n"
            "keep = t.save_checkpoint\n"
            "def save(accelerator, folder, step):\n"
            "    if step == 10: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n" # from now on no file grows beyond 300 kB
            "    keep(accelerator, folder, step)\n"
            "t.save_checkpoint = save\n"
            f"p.main({TRAIN})")
    done = run(root, sys.executable, '-c', code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'checkpoint-0000010: the checkpoint could not be written' in last and 'checkpoint-0000005 is kept' in last, done.stderr[-2000:]
    assert [path.name for path in the_run(root).glob('checkpoint-*')] == ['checkpoint-0000005']
    assert run(root, sys.executable, '-c', f'import vidseg.training.pipeline as p; p.main({TRAIN})').returncode == 0
    assert made_by(root)['resumed_from'] == 5


def test_clear_lines(root):
    "A misspelt parameter, profile, data set or missing folder: one line on the command line."
    for command, word in ((['vidseg-run', 'train', 'out.ipynb', 'sead=1'], "no parameter 'sead'"), (['vidseg-run', 'trian', 'out.ipynb'], "known are claims"),
                          (['vidseg-train', 'profile=huge'], 'known are smoke'), (['vidseg-run'], 'usage'),
                          (['vidseg-train', 'profile=smoke', 'steps=many'], 'whole number')):
        done = run(root, *command)
        assert done.returncode == 1 and word in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for config, word in ((['profile=huge'], "profile 'huge' is unknown"), (['profile=mini', 'data=camvid'], 'needs CAMVID='), (['profile=paper', 'data=cityscapes'], 'python data_scripts/cityscapes.py'), (['seeds=few'], 'give a number')):
        done = run(root, BIN/'snakemake', '--snakefile', REPO/'Snakefile', '--cores', 1, '--config', *config)
        assert done.returncode != 0 and word in done.stdout + done.stderr, done.stderr
