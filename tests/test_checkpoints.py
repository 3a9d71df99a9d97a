"Training that is interrupted, files that are harmed, disks that are full, and files that would run code."
import ast
import io
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vidseg.data.clips import ClipFolder
from vidseg.data.video import write_video
from vidseg.data.worlds import write_world
from vidseg.motion.flow import FlowCache
from vidseg.networks.models import load_network, read_weights
from vidseg.training.checkpoints import write_manifest
from vidseg.training.experiments import Experiment
from vidseg.training.pipeline import prepare_and_train
from vidseg.training.plan import plan
from vidseg.training.recipe import Recipe
from vidseg.training.runs import Run
from vidseg.training.terms import TERMS
from vidseg.training.training import train
from vidseg.use.export import export_program, load_program
from vidseg.workspace import DiskFull

REPO = Path(__file__).resolve().parents[1]
TEACHER = Recipe('teacher', 'data/tiny', steps=2, model='mobilenetv2_050', encoder_weights=None, batch_size=2, scale=(1, 1))
TINY = replace(TEACHER, name='tiny', steps=8, optimizer='adamw', lr=1e-3, teacher=f'runs/{TEACHER.folder.name}', dropout=.1,
               terms={'cross_entropy': 1., 'temporal': .5, 'single_frame': .1}, video_batch_size=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A root with a small world, a teacher, a finished run and one that was interrupted behind its second checkpoint."
    folder, kept = tmp_path_factory.mktemp('root'), os.environ.get('VIDSEG_ROOT')
    os.environ['VIDSEG_ROOT'] = str(folder)
    (folder/'nbs').mkdir()
    shutil.copytree(REPO/'nbs'/'experiments', folder/'nbs'/'experiments')
    write_world(folder/'data'/'tiny', 'train', clips=2, labels='one', length=21, size=(32, 64))
    train(TEACHER, progress=False)
    train(TINY, progress=False)
    Run.of(TINY).folder.rename(folder/'finished')
    interrupt(TINY, 7, checkpoint_every=2)
    Run.of(TINY).folder.rename(folder/'interrupted')
    yield folder
    del os.environ['VIDSEG_ROOT']
    if kept: os.environ['VIDSEG_ROOT'] = kept


class Killed(Exception): pass


@contextmanager
def term(name, loss):
    "Another loss under a term's name."
    kept = TERMS[name]
    TERMS[name] = replace(kept, loss=loss)
    try: yield
    finally: TERMS[name] = kept


def interrupt(recipe, calls, **options):
    "Train until a term was computed so many times."
    kept, count = TERMS['cross_entropy'].loss, iter(range(10**6))
    def killing(step):
        if next(count) == calls: raise Killed
        return kept(step)
    with term('cross_entropy', killing), pytest.raises(Killed): train(recipe, progress=False, **options)


@pytest.fixture
def run(root):
    "The interrupted run, in its place."
    folder = Run.of(TINY).folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root/'interrupted', folder)
    return Run(folder)


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def altered(file):
    content = bytearray(file.read_bytes())
    content[len(content)//2] ^= 1
    file.write_bytes(content)


def older(file, other):
    "Put another file in its place; False where that has the same content."
    if other.exists() and other.read_bytes() == file.read_bytes(): return False
    shutil.copy(other, file) if other.exists() else file.unlink()


WAYS = dict(
    missing=lambda file, other: file.unlink(),
    cut=lambda file, other: file.write_bytes(file.read_bytes()[:-2]),
    altered=lambda file, other: altered(file),
    older=older,
)
PARTS = 'model', 'optimizer', 'schedule', 'learned', 'journal', 'random-0'


def resumed(run):
    "Go on with the interrupted run: (what was said, the step it went on from)."
    with redirect_stderr(io.StringIO()) as said: train(TINY, checkpoint_every=2, progress=False)
    done = Run(run.folder)
    assert not done.checkpoints()
    return [line for line in said.getvalue().splitlines() if run.name in line], done.provenance['resumed_from']


def test_what_a_checkpoint_is(run, root):
    "The two newest, of files that are safetensors and JSON; going on ends in the bytes of a training in one go. Stray files do not matter."
    assert [path.name for path in run.checkpoints()] == ['checkpoint-0000004', 'checkpoint-0000006']
    names = {path.name for path in run.checkpoints()[-1].iterdir()}
    assert {Path(name).stem for name in names} == {*PARTS, 'manifest'}
    assert {Path(name).suffix for name in names} == {'.json', '.safetensors'}
    for path in run.checkpoints():
        (path/'.DS_Store').write_bytes(b'stray')
        (path/'random_states_0.pkl').write_bytes(b'stray')
    (run.folder/'checkpoint-0000006 (copy)').mkdir()
    assert resumed(run) == ([], 6)
    for name in ('model.safetensors', 'log.csv', 'recipe.json'):
        assert (run.folder/name).read_bytes() == (root/'finished'/name).read_bytes(), name


@pytest.mark.parametrize('way', WAYS)
def test_harmed_checkpoint(way, run, root):
    "Any file of the newest checkpoint missing, cut, altered or of the one before: that one is used, said in a line; the same weights."
    before, newest = run.checkpoints()
    kept = root/'kept'
    shutil.copytree(newest, kept)
    for file in sorted(path.name for path in newest.iterdir()):
        harmed = WAYS[way](newest/file, before/file) is not False
        with redirect_stderr(io.StringIO()) as said: path, about = run.last_checkpoint()
        assert about['step'] == (4 if harmed else 6), file
        line = said.getvalue()
        assert line.count('\n') == harmed and (not harmed or file in line and 'going on from checkpoint-0000004' in line), line
        shutil.copy(kept/file, newest/file)
    shutil.rmtree(kept)
    WAYS[way](newest/'random-0.safetensors', before/'random-0.safetensors')
    said, step = resumed(run)
    assert len(said) == 1 and step == 4
    assert same(run.state_dict(), Run(root/'finished').state_dict())


def test_no_whole_checkpoint(run, root):
    "None left, one under another's name, or those of an earlier version: the run starts anew, said in a line."
    before, newest = run.checkpoints()
    shutil.rmtree(newest)
    before.rename(newest)
    earlier = run.folder/'checkpoint-0000002'
    earlier.mkdir()
    for name in ('optimizer.bin', 'random_states_0.pkl', 'scheduler.bin'): (earlier/name).write_bytes(pickle.dumps({}))
    [said], step = resumed(run)
    assert step == 0 and 'its step is 4, not 6' in said and 'checkpoint-0000002: it has no manifest.json' in said, said
    assert said.endswith('the training starts anew')
    assert same(run.state_dict(), Run(root/'finished').state_dict())


READ = {
    'recipe.json': lambda run: run.recipe,
    'model.safetensors': lambda run: run.model(),
    'log.csv': lambda run: run.log(),
    'provenance.json': lambda run: run.provenance,
    'run.json': lambda run: run.state_dict(),
}


@pytest.mark.parametrize('way', WAYS)
def test_harmed_run(way, root, tmp_path):
    "Any file of a finished run missing, cut, altered or of another run: named in a line by whoever reads it. Metrics of others are none."
    # complexity: asserts, on files that are put back one by one
    shutil.copytree(root/'finished', tmp_path/'run')
    shutil.copytree(root/'finished', tmp_path/'other')
    other, run = Run(tmp_path/'other'), Run(tmp_path/'run')
    with torch.no_grad(): changed = {name: value + 1 for name, value in run.state_dict().items()}
    network = run.model()
    network.load_state_dict(changed)
    (other.folder/'log.csv').write_text('step,total\n0,1.0\n')
    (other.folder/'recipe.json').write_text((other.folder/'recipe.json').read_text().replace('tiny', 'small'))
    other.finish(network, ClipFolder(root/'data'/'tiny'), dict(commit='other'))
    for made in (run, other): made.write_metrics(dict(miou=1.))
    for name, read in READ.items():
        read(Run(run.folder))
        content = (run.folder/name).read_bytes()
        WAYS[way](run.folder/name, other.folder/name)
        with pytest.raises((ValueError, FileNotFoundError)) as said: read(Run(run.folder))
        assert '\n' not in str(said.value) and str(run.folder) in str(said.value)
        assert name in str(said.value) or name == 'run.json' and way == 'older', said.value
        (run.folder/name).write_bytes(content)
    content = (run.folder/'metrics.json').read_bytes()
    WAYS[way](run.folder/'metrics.json', other.folder/'metrics.json')
    if way == 'cut':
        with pytest.raises(ValueError, match='metrics.json'): Run(run.folder).metrics()
    elif way != 'altered': assert Run(run.folder).metrics() == {}
    (run.folder/'metrics.json').write_bytes(content)
    assert run.metrics()['miou'] == 1.


KILLS = '''
import os, random, shutil, signal, sys, time
from dataclasses import replace
sys.path.insert(0, TESTS)
import test_checkpoints as t
recipe = replace(t.TINY, steps=90)

def life(**options): # a process that trains; it is forked, since the imports take longer than the training
    pid = os.fork()
    if pid: return pid
    t.train(recipe, checkpoint_every=2, progress=False, **options)
    os._exit(0)

run, chance, told, kills = t.Run.of(recipe), random.Random(0), 0, 0
def step(): return max([int(path.name[11:]) for path in run.checkpoints()], default=0)
while kills < 20:
    pid, at = life(workers=kills % 2), step()
    while step() <= at and not os.waitpid(pid, os.WNOHANG)[0]: time.sleep(.005)
    time.sleep(chance.random()*.1)
    assert run.state == 'begun', f'{run.state}: it ended after {kills} kills'
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
assert os.waitpid(life(), 0)[1] == 0
weights, log, resumed_from = run.weights.read_bytes(), run.log_file.read_bytes(), run.provenance['resumed_from']
shutil.rmtree(run.folder)
assert os.waitpid(life(), 0)[1] == 0
assert run.weights.read_bytes() == weights and run.log_file.read_bytes() == log, 'other weights'
print(kills, resumed_from)
'''


def script(root, text, *launcher):
    "A script in a process of its own, with this file at hand."
    file = root/'script.py'
    file.write_text(f'TESTS = {str(REPO/"tests")!r}\n{text}')
    where = os.environ | dict(VIDSEG_ROOT=str(root), OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true')
    return subprocess.run([*(launcher or [sys.executable]), str(file)], cwd=REPO, env=where, capture_output=True, text=True, timeout=600)


def test_killed_twenty_times(root):
    "`kill -9` twenty times, at any moment, with and without processes that load data: the same bytes as in one go."
    done = script(root, KILLS)
    assert done.returncode == 0, done.stderr[-3000:]
    kills, resumed_from = map(int, done.stdout.split())
    assert kills == 20 and resumed_from >= 40


TWO = '''
import shutil, sys
sys.path.insert(0, TESTS)
import test_checkpoints as t
from accelerate import PartialState
state, run = PartialState(cpu=True), t.Run.of(t.TINY)
def again():
    state.wait_for_everyone()
    if state.is_main_process: shutil.rmtree(run.folder, ignore_errors=True)
    state.wait_for_everyone()
again()
t.train(t.TINY, progress=False)
weights = run.weights.read_bytes()
again()
t.interrupt(t.TINY, 5, checkpoint_every=2)
names = {path.name for path in run.checkpoints()[-1].iterdir()}
assert {'random-0.json', 'random-1.json'} <= names, names
state.wait_for_everyone()
t.train(t.TINY, progress=False)
assert run.weights.read_bytes() == weights, 'other weights'
if state.is_main_process: print(run.provenance['processes'], run.provenance['resumed_from'])
again()
t.interrupt(t.TINY, 5, checkpoint_every=2)
'''


def test_two_processes_resume(root):
    "Two processes, interrupted, end in the same bytes. One process that goes on with what two began says that it draws other numbers."
    shutil.rmtree(Run.of(TINY).folder, ignore_errors=True)
    done = script(root, TWO, Path(sys.executable).parent/'torchrun', '--nproc_per_node', '2', '--master_port', '29531')
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ['2', '4']
    [said], step = resumed(Run.of(TINY))
    assert step == 4 and 'random numbers begin anew' in said


def test_not_finite(root):
    "A loss that is not finite ends the run in a line with step and term; its last checkpoint is finite and stays."
    burst, count, kept = replace(TINY, name='burst'), iter(range(100)), TERMS['temporal'].loss
    run = Run.of(burst)
    def infinite(step): return kept(step)*(float('inf') if next(count) == 5 else 1)
    with term('temporal', infinite), pytest.raises(FloatingPointError) as said: train(burst, checkpoint_every=2, progress=False)
    assert f'{run.name}: step 5: a loss is not finite: temporal of' in str(said.value) and '\n' not in str(said.value)
    assert run.state == 'failed' and run.last_checkpoint()[1]['step'] == 4
    with redirect_stderr(io.StringIO()): train(burst, progress=False)
    assert run.state == 'there' and run.provenance['resumed_from'] == 4

    poisoned, count = replace(TINY, name='poisoned', steps=2), iter(range(100))
    def poison(step):
        if next(count) == 1: step.output.logits.register_hook(lambda grad: grad*float('nan'))
        return kept(step)
    with term('temporal', poison), pytest.raises(FloatingPointError, match='step 1: weight .* is not finite'):
        train(poisoned, checkpoint_every=1, progress=False)
    assert Run.of(poisoned).state == 'failed' and not Run.of(poisoned).weights.exists(), 'it does not count as trained'
    assert Run.of(poisoned).last_checkpoint()[1]['step'] == 1


def test_start(root, tmp_path):
    "A start that is not there is named by the plan and before anything is made; content counts in the name of the run."
    smoke = Experiment('smoke')
    smoke.schemes['TL'] = dict(marks=['TL'], start='runs/none')
    assert [line for line in plan(smoke, [0])[1] if 'cannot start from runs/none' in line]
    with pytest.raises(FileNotFoundError, match='cannot start from runs/none'): prepare_and_train(smoke, 'TL', 0)
    assert not (root/smoke.folder()).exists() and not (smoke.recipe('TL').folder).exists()
    finished = Run(root/'finished')
    shutil.copy(finished.weights, tmp_path/'weights.safetensors')
    calm = dict(terms={'cross_entropy': 1.}, teacher=None, steps=1, lr=0., weight_decay=0.)
    for start in (root/'finished', finished.weights, tmp_path/'weights.safetensors'):
        begun = replace(TINY, name='goes-on', start=str(start), **calm)
        made = Run(train(begun, progress=False))
        assert made.provenance['start'] == finished.digest
        weights = {name: value for name, value in made.state_dict().items() if not re.search('running|tracked', name)}
        assert all(torch.equal(value, finished.state_dict()[name]) for name, value in weights.items()), 'all of them, the head too'
    name = begun.folder.name
    altered(tmp_path/'weights.safetensors')
    assert begun.folder.name != name


def test_worker_killed(root):
    "A process that loads data and is killed is reported as that, in a line; the training can go on."
    recipe, kept = replace(TINY, name='short-of-memory'), TERMS['cross_entropy'].loss
    def killing(step):
        if Run.of(recipe).checkpoints():
            for child in multiprocessing.active_children(): os.kill(child.pid, signal.SIGKILL)
        return kept(step)
    with term('cross_entropy', killing), pytest.raises(ChildProcessError) as said:
        train(recipe, checkpoint_every=2, workers=1, progress=False)
    assert re.search(r'a process that loads data \(pid \d+\) ended: .*; often the memory is full', str(said.value)), said.value
    assert '\n' not in str(said.value)
    assert Run(train(recipe, progress=False)).provenance['resumed_from'] >= 2


def at_once(function):
    "Do something twice at the same time: what was said."
    faults = []
    def guarded():
        try: function()
        except Exception as error: faults.append(error)
    with redirect_stderr(io.StringIO()) as said:
        both = [threading.Thread(target=guarded) for _ in range(2)]
        for one in both: one.start()
        for one in both: one.join()
    assert not faults, faults
    return said.getvalue()


def test_two_commands_at_once(run, root):
    "One world, one cache: one waits. One run: one is told."
    smoke = Experiment('smoke')
    assert 'another process is making it; waiting' in at_once(lambda: smoke.prepare('train', 0))
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    at_once(lambda: FlowCache(root/'cache')(*frames))
    held = run.begin(TINY)
    with pytest.raises(OSError, match='another process is training this run'): train(TINY, progress=False)
    held.close()
    train(TINY, progress=False)
    content = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    run.begin(replace(TINY, steps=3)).close()
    assert content == {path.name: path.read_bytes() for path in run.folder.iterdir()}, 'finished while one waited: as it is'


@pytest.fixture
def full(tmp_path):
    "A folder on a disk of 64 kB with nearly no room."
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(tmp_path)], capture_output=True).returncode == 0
    if not mounted: pytest.skip('a small disk can only be mounted by root')
    (tmp_path/'fills').write_bytes(b'0'*52_000)
    yield tmp_path
    subprocess.run(['umount', '-l', str(tmp_path)], check=True)


def test_full_disk_is_called_that(full, root, run):
    "Flow cache, world, video, figure, run, checkpoint: a full disk is called that, and nothing is left behind."
    # complexity: asserts; what is written are functions of one line
    from plotly.graph_objects import Figure
    from vidseg.paper.drawing import save_figure
    chance = np.random.default_rng(0)
    frames = chance.integers(0, 255, (12, 96, 96, 3), np.uint8)
    kept = Run(root/'finished')
    network, clips = kept.model(), ClipFolder(root/'data'/'tiny')
    writes = dict(
        flow=lambda: FlowCache(full/'cache')(*frames[:2]),
        world=lambda: write_world(full/'world', 'train', clips=2, size=(64, 96), length=8),
        video=lambda: write_video(full/'video.mp4', frames),
        figure=lambda: save_figure(Figure().add_scatter(y=chance.random(9999)), full, 'figure', {}),
        run=lambda: Run(full/'run').finish(network, clips, {}),
        program=lambda: export_program(kept.model(), full/'network.pt2'),
    )
    for name, write in writes.items():
        with pytest.raises(OSError, match='the disk is full') as said: write()
        assert '\n' not in str(said.value) and isinstance(said.value, DiskFull), name
        left = [path.name for path in full.rglob('*') if path.is_file() and path.name != 'fills' and path.name[0] != '.']
        assert not [name for name in left if not re.fullmatch(r'dataset.json|provenance.json', name)], left
    shutil.rmtree(run.folder)
    (full/'fills').write_bytes(b'0'*20_000)
    run.folder.symlink_to(full/'run')
    with pytest.raises(OSError, match=r'could not be written \(.*the disk is full\); there is none yet'):
        train(TINY, checkpoint_every=2, progress=False)
    run.folder.unlink()


class Bomb:
    "What a pickle can do: run a command when it is read."
    def __init__(self, marker): self.marker = marker

    def __reduce__(self): return os.system, (f'touch {self.marker}',)


def bombs(marker):
    "The same as a bare pickle, as PyTorch's file, as an array."
    saved, array = io.BytesIO(), io.BytesIO()
    torch.save({'weight': Bomb(marker)}, saved)
    np.save(array, np.array([Bomb(marker)], object), allow_pickle=True)
    return pickle.dumps(Bomb(marker)), saved.getvalue(), array.getvalue()


def refused(read):
    "Read something; what is raised must be a line."
    with redirect_stderr(io.StringIO()):
        try: return read()
        except (ValueError, OSError) as error: assert '\n' not in str(error), error


@pytest.fixture
def marker(tmp_path):
    "The file that a bomb creates; that it does is made sure of, and that none went off."
    marker = tmp_path/'marker'
    pickle.loads(bombs(marker)[0])
    assert marker.exists(), 'the bomb is one'
    marker.unlink()
    yield marker
    assert not marker.exists()


def test_checkpoint_runs_no_code(run, marker, root):
    "A pickle that would create a file in every file of a checkpoint, also with digests that are right."
    for bomb in bombs(marker):
        for path in run.checkpoints():
            for file in path.iterdir(): file.write_bytes(bomb)
        assert refused(lambda: run.last_checkpoint()) is None
        for path in run.checkpoints():
            (path/'manifest.json').unlink()
            about = dict(step=int(path.name[-7:]), of=run.name, start=None)
            write_manifest(path/'manifest.json', [*path.iterdir()], **about)
        refused(lambda: train(TINY, progress=False))
        shutil.rmtree(run.folder)
        shutil.copytree(root/'interrupted', run.folder)


def test_run_runs_no_code(marker, root, tmp_path):
    "… in every file of a finished run, one by one and all together."
    shutil.copytree(root/'finished', tmp_path/'finished')
    run = Run(tmp_path/'finished')
    for bomb in bombs(marker):
        for name, read in READ.items():
            (run.folder/name).write_bytes(bomb)
            assert refused(lambda read=read: read(Run(run.folder))) is None
            shutil.copy(root/'finished'/name, run.folder/name)
    for bomb in bombs(marker):
        for name in (*READ, 'metrics.json'): (run.folder/name).write_bytes(bomb)
        for read in (*READ.values(), Run.metrics):
            assert refused(lambda read=read: read(Run(run.folder))) is None


def test_weights_and_flows_run_no_code(marker, root, tmp_path):
    "… in a weights file of each kind, and in a flow cache, which is estimated anew."
    frames, cache = np.zeros((2, 32, 32, 3), np.uint8), FlowCache(tmp_path/'cache')
    network = Run(root/'finished').model()
    for bomb in bombs(marker):
        for suffix in ('.safetensors', '.pt', '.pth'):
            (tmp_path/f'weights{suffix}').write_bytes(bomb)
            for read in (read_weights, lambda file: load_network(network, file)):
                assert refused(lambda read=read, suffix=suffix: read(tmp_path/f'weights{suffix}')) is None
        cache(*frames)
        cache.path(*frames).write_bytes(bomb)
        assert cache(*frames).shape == (2, 32, 32)


def members_of(program):
    "Member name → content."
    with zipfile.ZipFile(program) as archive: return {name: archive.read(name) for name in archive.namelist()}


def write_members(program, members):
    with zipfile.ZipFile(program, 'w') as archive:
        for name, content in members.items(): archive.writestr(name, content)


def test_program_runs_no_code(marker, root, tmp_path):
    "… in the members of a .pt2, and in its place."
    program = export_program(Run(root/'finished').model(), tmp_path/'network.pt2')
    members = members_of(program)
    read = [name for name in members if name.endswith(('.pt', '.json'))]
    others = [name for name in members if not re.search(r'weight_[1-9]|\.pt$|\.json$', name)]
    for bomb, names in zip(bombs(marker), ([*read, *others], read, read)):
        for name in names:
            write_members(program, members | {name: bomb})
            refused(lambda: load_program(program))
        program.write_bytes(bomb)
        assert refused(lambda: load_program(program)) is None


def test_program_that_asks_for_a_pickle(marker, root, tmp_path):
    "A program that says a weight is a pickle is refused; `torch.export.load` alone would run it."
    program = export_program(Run(root/'finished').model(), tmp_path/'network.pt2')
    members, config = members_of(program), 'archive/data/weights/model_weights_config.json'
    said = json.loads(members[config])
    first = next(iter(said['config'].values()))
    first['use_pickle'] = True
    asks = {config: json.dumps(said).encode(), f"archive/data/weights/{first['path_name']}": bombs(marker)[1]}
    write_members(program, members | asks)
    with pytest.raises(ValueError, match='use_pickle True'): load_program(program)


@pytest.mark.quick
def test_nothing_unpickles():
    "No module reads or writes pickles, whatever they are called."
    for path in sorted((REPO/'vidseg').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ''
            assert not {'pickle', 'dill', 'joblib', 'cloudpickle'} & set(names), path
            assert call.split('.')[-1] not in ('save_state', 'load_state') and call != 'torch.save', f'{path}:{node.lineno} {call}'
            if call == 'torch.load': assert 'weights_only=True' in ast.unparse(node), f'{path}:{node.lineno}'
