"Every library and explore notebook runs from top to bottom, each in its own process, as nbdev_test does it."
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rules

ROOT, BIN = Path(__file__).resolve().parents[1], Path(sys.executable).parent
SMALLER = {'your_own_video': dict(run=ROOT/'nbs'/'explore'/'checkpoints'/'baseline', steps=50)}
# of a few seconds each
QUICK = re.compile(r'00_workspace|1_data/0[0-4]|2_motion|5_losses|6_metrics/0[012]|7_training/0[0-8]|8_paper/0[0-4]')


def notebooks():
    "One parameter for each notebook; the long ones first, so that no core is idle at the end."
    paths = [path for path in rules.notebooks(ROOT) if path.parent.name != 'experiments']
    paths.sort(key=lambda path: bool(QUICK.search(str(path))))
    for path in paths:
        name = str(path.relative_to(ROOT/'nbs')).removesuffix('.ipynb')
        yield pytest.param(path, id=name, marks=pytest.mark.quick if QUICK.search(name) else [])


def command(name, output):
    "What executes a notebook, from top to bottom; where it would take many minutes, with smaller parameters."
    if name.stem not in SMALLER: return [BIN/'nbdev_test', '--path', name, '--do_print']
    parameters = [word for key, value in SMALLER[name.stem].items() for word in ('-p', key, str(value))]
    return [BIN/'papermill', name, output, '--cwd', name.parent, '--no-progress-bar', *parameters]


@pytest.mark.parametrize('notebook', list(notebooks()))
def test_notebook(notebook, tmp_path):
    name = notebook.relative_to(ROOT)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}   # one core for each of two workers
    done = subprocess.run(command(name, tmp_path/'executed.ipynb'), cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0 and (name.stem in SMALLER or 'Success.' in done.stdout): return
    lines = re.sub(r'\x1b\[[0-9;]*m', '', done.stderr + done.stdout[-500:]).strip().splitlines()
    pytest.fail('\n'.join([f'{name} fails; see it with `nbdev_test --path {name}`, or run it in JupyterLab:', *lines[-40:]]), pytrace=False)
