"The Makefile: in a folder whose path has a space, and with values that a shell, make or YAML would read as something else."
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vidseg.training.experiments import Experiment
from vidseg.training.plan import Jobs
from vidseg.workspace import root

pytestmark = pytest.mark.quick
REPO = root()
STUB = '''#!/bin/sh
{ echo "$0"; printf '%s\\n' "$@"; } >> ../argv
for name in CAMVID WEIGHTS; do printenv $name > ../$name; done
'''
PROGRAMS = 'vidseg', 'snakemake', 'python', 'nbdev_clean', 'nbdev_export', 'jupyter', 'pip'
ODD = ('$(shell touch X)', '$(touch X)', '`touch X`', '"; touch X; "', "'; touch X; '", 'a folder/of "mine"', "it's", '$HOME ${HOME} $$',
       '{rule}', 'a # b', '-n')


@pytest.fixture
def checkout(tmp_path):
    "A checkout whose environment holds programs that only write down how they were called."
    folder = tmp_path/'my videos'
    (folder/'.venv'/'bin').mkdir(parents=True)
    for name in ('Makefile', 'settings.ini', 'setup.py'): shutil.copy(REPO/name, folder/name)
    (folder/'nbs'/'experiments').mkdir(parents=True)
    shutil.copy(REPO/'nbs'/'experiments'/'experiments.yaml', folder/'nbs'/'experiments')
    for name in PROGRAMS:
        (folder/'.venv'/'bin'/name).write_text(STUB)
        (folder/'.venv'/'bin'/name).chmod(0o755)
    (folder/'.venv'/'ready').touch()
    return folder


def make(folder, *arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ('CAMVID', 'WEIGHTS', 'PROFILE', 'DATA', 'MAKEFLAGS')}
    return subprocess.run(['make', *arguments], cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=60)


def calls(folder): return (folder.parent/'argv').read_text() if (folder.parent/'argv').exists() else ''


@pytest.mark.parametrize('target', ['plan', 'reproduce', 'report', 'verify', 'test', 'check', 'bench', 'export', 'notebooks', 'lab'])
def test_every_target_finds_its_programs(checkout, target):
    done = make(checkout, 'PYTHON=false', target)
    assert done.returncode == 0 and calls(checkout).startswith('.venv/bin/'), done.stderr


@pytest.mark.parametrize('value', ODD)
@pytest.mark.parametrize('by', ['argument', 'environment'])
def test_values_arrive_as_they_are(checkout, value, by):
    "Nothing is run, and no command line holds the value."
    given = dict(CAMVID=value, WEIGHTS=f'{value} w')
    for target in ('plan', 'reproduce'):
        if by == 'argument': done = make(checkout, target, 'DATA=camvid', *(f'{name}={text}' for name, text in given.items()))
        else: done = make(checkout, target, 'DATA=camvid', **given)
        assert done.returncode == 0, done.stderr
        for name, text in given.items(): assert (checkout.parent/name).read_text() == f'{text}\n'
        assert 'camvid' in calls(checkout) and value not in calls(checkout).splitlines()
        assert not list(checkout.parent.rglob('X')), f'{value} was run'


@pytest.mark.parametrize('given', ['PROFILE=huge', 'PROFILE=', 'DATA=street nowhere', 'PROFILE=$(shell touch X)', 'DATA=`touch X`',
                                   "DATA=street'; touch X; '"])
def test_unknown_names_are_refused_in_a_line(checkout, given):
    done = make(checkout, 'reproduce', given)
    assert done.returncode and len(done.stderr.strip().splitlines()) == 1 and not calls(checkout)
    name, known = given.partition('=')[0], 'mini' if given.startswith('PROFILE') else 'street'
    assert name in done.stderr and known in done.stderr.partition('known are')[2] and not list(checkout.parent.rglob('X'))


@pytest.mark.parametrize('given', ['SEEDS', 'CORES'])
def test_numbers_are_no_commands(checkout, given):
    for value in ('$(shell touch X)', '3; touch X', '`touch X`'): make(checkout, 'reproduce', f'{given}={value}')
    assert calls(checkout) and not list(checkout.parent.rglob('X'))


def test_the_graph_takes_them_from_the_environment(tmp_path):
    "A dry run of the Snakefile shows no value, and its words for the shell give it back."
    (tmp_path/'nbs').symlink_to(REPO/'nbs')
    (tmp_path/'data'/'weights').mkdir(parents=True)
    (tmp_path/'data'/'weights'/'mobilenet_v2_imagenet.safetensors').touch()     # what its recipes name; a dry run does not read it
    source = '/my "CamVid"/$(touch X)/{s}'
    command = ['snakemake', '--snakefile', REPO/'Snakefile', '--cores', '1', '--dry-run', '--nolock', '--printshellcmds', '--forceall',
               '--config', 'profile=mini', 'data=camvid', 'seeds=1']
    done = subprocess.run([Path(os.sys.executable).parent/command[0], *command[1:]], cwd=tmp_path, capture_output=True,
                          text=True, env=os.environ | dict(CAMVID=source, VIDSEG_ROOT=str(tmp_path)))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    lines = {line.strip() for line in said.splitlines() if 'camvid' in line}
    assert source not in said and any(' "$CAMVID" ' in line for line in lines)
    jobs = Jobs(Experiment('mini', 'camvid'), [0], source)
    assert any(source in job.command for job in jobs.all)


def test_weights_are_linked(checkout):
    "Recipes name files in data/weights, wherever the folder lies; what is there stays."
    folder = checkout.parent/'my "weights"'
    folder.mkdir()
    for _ in range(2):
        assert make(checkout, 'report', WEIGHTS=str(folder)).returncode == 0
        assert (checkout/'data'/'weights').resolve() == folder
    assert make(checkout, 'reproduce', WEIGHTS=str(checkout.parent)).returncode == 0 and (checkout/'data'/'weights').resolve() == folder
