"Every library and explore notebook runs from top to bottom, each in its own process, as nbdev_test does it."
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[1]
# of a few seconds each
QUICK = re.compile(r'00_workspace|1_data/0[0-4]|2_motion|5_losses|6_metrics/0[012]|7_training/0[0-8]|8_paper/0[0-4]')


def notebooks():
    "One parameter for each notebook; the long ones first, so that no core is idle at the end."
    paths = [path for path in rules.notebooks(ROOT) if path.parent.name != 'experiments']
    paths.sort(key=lambda path: bool(QUICK.search(str(path))))
    for path in paths:
        name = str(path.relative_to(ROOT/'nbs')).removesuffix('.ipynb')
        yield pytest.param(path, id=name, marks=pytest.mark.quick if QUICK.search(name) else [])


@pytest.mark.parametrize('notebook', list(notebooks()))
def test_notebook(notebook):
    name = notebook.relative_to(ROOT)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}   # one core for each of two workers
    done = subprocess.run([Path(sys.executable).parent/'nbdev_test', '--path', name, '--do_print'],
                          cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0 and 'Success.' in done.stdout: return
    lines = re.sub(r'\x1b\[[0-9;]*m', '', done.stderr + done.stdout[-500:]).strip().splitlines()
    pytest.fail('\n'.join([f'{name} fails; see it with `nbdev_test --path {name}`, or run it in JupyterLab:', *lines[-40:]]), pytrace=False)
