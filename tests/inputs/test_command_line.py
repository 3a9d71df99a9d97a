"Numbers and names on the command line: read as what they are, or refused in a line before anything is made."
import math
from dataclasses import asdict, fields

import pytest
from hypothesis import given, settings, strategies as st

from vidseg.data.street import StreetWorld
from vidseg.data.video import write_video
from vidseg.motion import flow
from vidseg.settings import read_settings
from vidseg.training.experiments import Experiment
from vidseg.training.recipe import Recipe
from vidseg.use.commands import main
from vidseg.workspace import root

BASE = asdict(Recipe('x', data='data/x', steps=1))
CHECKPOINT = root()/'nbs'/'explore'/'checkpoints'/'baseline'
NUMBERS = [f.name for f in fields(Recipe) if f.type in (int, float)]


def recipe(*pairs): return Recipe.of(**BASE | read_settings(list(pairs)))


@settings(deadline=None, database=None)
@given(st.floats(1e-12, 1, allow_subnormal=False), st.integers(1, 10**6))
def test_numbers_however_they_are_written(x, n):
    for text in (repr(x), f'{x:.17e}', f'{x:.17E}'): assert recipe(f'lr={text}').lr == x == recipe(f'weight_decay={text}').weight_decay
    for text in (str(n), f'0{n}', f'+{n}', f'{n}.0', f'{n}e0', f'{n:_}'):
        found = recipe(f'steps={text}').steps
        assert found == n and type(found) is int
    assert recipe(f'crop=[{n}, 0{n}]').crop == (n, n) and recipe(f'scale=[{x!r},1e0]').scale == (x, 1.)
    assert recipe(f'terms={{temporal: {x!r}, cross_entropy: 1}}').terms == dict(temporal=x, cross_entropy=1.)
    assert recipe(f'lr={x!r}').folder == Recipe.of(**BASE | dict(lr=x)).folder, 'the same run'


@pytest.mark.parametrize('name', NUMBERS)
@pytest.mark.parametrize('value', ['fast', '-1', '.nan', '.inf', '-.inf', 'null', '[1]', 'true', '1e999', '"x"', '', '1:30'])
def test_what_is_no_such_number_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name): recipe(f'{name}={value}')


@pytest.mark.parametrize('pair', ['crop=64x64', 'crop=64', 'crop=[64]', 'crop=[64,0]', 'crop=[64,6.5]', 'scale=[2,.5]', 'scale=[0,1]',
                                  'scale=null', 'flip=maybe', 'flip=1', 'channels_last=no', 'model=10', 'split=null', 'sampling=often',
                                  'terms=temporal', 'terms={temporal: much}', 'terms={temporal: .nan}',
                                  'networks=runs/x', 'data=', 'optimizer=true'])
def test_other_values_are_refused_by_name(pair):
    with pytest.raises(ValueError, match=pair.split('=')[0]): recipe(pair)


@settings(deadline=None, database=None)
@given(st.sampled_from([f.name for f in fields(Recipe)]), st.text(st.characters(codec='utf-8', exclude_characters='\0'), max_size=12))
def test_any_text(name, text):
    "Whatever is written, it is taken as something of the field's kind, or refused in a line."
    try: value = getattr(recipe(f'{name}={text}'), name)
    except ValueError as error: assert '\n' not in str(error).strip() or '\n' in text
    else:
        assert value is None or isinstance(value, (str, bool, int, float, tuple, dict))
        if name in NUMBERS: assert type(value) in (int, float) and math.isfinite(value)


@pytest.fixture
def place(tmp_path, monkeypatch):
    "A root of its own with a video of 20 frames, and what a command says when it is refused there."
    (tmp_path/'nbs').symlink_to(root()/'nbs')
    world = StreetWorld(seed=4, size=(32, 64), length=20)
    write_video(tmp_path/'in.mp4', (world.render(t) for t in range(20)), fps=17)
    monkeypatch.setenv('VIDSEG_ROOT', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))

    def refused(*arguments):
        with pytest.raises(SystemExit) as caught: main(list(map(str, arguments)))
        line = str(caught.value)
        assert line.startswith('vidseg') and '\n' not in line
        assert sorted(tmp_path.rglob('*')) == before, 'nothing is made'
        return line
    return refused


RUN = '--run', CHECKPOINT
COMMANDS = dict(
    segment=('segment', 'in.mp4', 'out.mp4', *RUN),
    flow=('flow', 'in.mp4', 'out.mp4'),
    adapt=('adapt', 'in.mp4', 'out.onnx', *RUN),
)


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('option', ['--fps=0', '--fps=-3', '--fps=nan', '--fps=fast', '--max-frames=0', '--max-frames=1.5',
                                    '--max-frames=-1', '--device=tpu', '--device=cuda:99', '--device='])
def test_options_of_video_commands(place, command, option):
    line = place(*COMMANDS[command], option)
    assert option.strip('-').split('=')[0].replace('-', '_') in line


@pytest.mark.parametrize('command,option', [('segment', '--opacity=1.5'), ('segment', '--opacity=x'), ('segment', '--batch-size=0'),
                                            ('segment', '--batch-size=1.5'), ('flow', '--longest=0'), ('flow', '--longest=nan'),
                                            ('flow', '--method=diss'), ('adapt', '--size=0'), ('adapt', 'lr=-1'), ('adapt', 'steps=1.5'),
                                            ('adapt', 'strength=1'), ('adapt', 'flow=diss'), ('adapt', 'crop=64x64')])
def test_options_of_one_command(place, command, option):
    extra = (option, '32') if option.startswith('--size') else (option,)
    assert option.strip('-').split('=')[0].replace('-', '_').replace('method', 'flow method') in place(*COMMANDS[command], *extra)


def test_too_few_frames(place): assert 'held_out' in place(*COMMANDS['adapt'], '--max-frames', 12, '--folder', 'own')


def test_raft_without_weights(place, monkeypatch):
    def no_web(*args, **kwargs): raise OSError('no route to host')
    monkeypatch.setattr('torchvision.models.optical_flow.raft_small', no_web)
    for command in (('flow', 'in.mp4', 'out.mp4', '--method', 'raft_small'), ('evaluate', *RUN, '--flow', 'raft_small'),
                    ('train', '--profile', 'smoke', '--scheme', 'TL', 'flow=raft_small'), (*COMMANDS['adapt'], 'flow=raft_small')):
        assert 'weights of raft_small are not here' in place(*command)
    with pytest.raises(FileNotFoundError, match='no route'): flow.check_flow('raft_small')


@pytest.mark.parametrize('arguments', [
    ('train', '--profile', 'huge'), ('train', '--data', 'nowhere'), ('train', '--scheme', 'baselin'), ('train', '--seed', '-1'),
    ('train', '--profile', 'smoke', 'lr=-1'), ('train', '--profile', 'smoke', 'model=resnet81'),
    ('train', '--profile', 'smoke', 'steps=1', 'steps=2'),
    ('train', '--profile', 'smoke', 'encoder_weights=none.pth'), ('train', '--profile', 'smoke', 'task=poses'), ('train', 'lr'),
    ('train', '--encoder-weights', '$NOT_THERE'), ('plan', '--seeds', 'few'), ('run', 'train', 'out/a.ipynb', 'seeds=3'),
    ('run', 'train', 'out/a.ipynb', 'seed=0'), ('run', 'train', 'out/a.ipynb', 'workers=-1'),
    ('run', 'train', 'out/a.ipynb', 'profile=huge'),
    ('run', 'train', 'out/a.ipynb', 'scheme=[TL, baselin]'), ('run', 'table', 'out/a.ipynb', 'table=table_0')])
def test_experiments(place, arguments): place(*arguments)


def test_written_recipes_keep_their_names():
    "The recipes of experiments.yaml are parsed to themselves."
    for profile, data in (('mini', 'street'), ('mini', 'faces'), ('paper', 'cityscapes')):
        found = Experiment(profile, data).recipe('baseline')
        assert Recipe.of(**asdict(found)) == found and Recipe.of(**asdict(found)).folder == found.folder
