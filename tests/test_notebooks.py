"Every library and explore notebook runs from top to bottom, each in its own process, as nbdev_test does it (without cells marked slow)."
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALONE = {'speed'}   # compare speeds
UNDER_XDIST = 'PYTEST_XDIST_WORKER' in os.environ


def notebooks():
    "One parameter for each notebook; those that compare speeds are marked `alone` and refuse company."
    paths = [*sorted((ROOT/'nbs').glob('[0-9]*.ipynb')), *sorted((ROOT/'nbs'/'explore').glob('*.ipynb'))]
    alone = [pytest.mark.alone, pytest.mark.skipif(UNDER_XDIST, reason='compares speeds: run it by itself with `pytest -m alone`')]
    return [pytest.param(path, id=path.stem, marks=alone if path.stem in ALONE else []) for path in paths]


@pytest.mark.parametrize('notebook', notebooks())
def test_notebook(notebook):
    name = notebook.relative_to(ROOT)
    environment = os.environ if notebook.stem in ALONE else {**os.environ, 'OMP_NUM_THREADS': '1'}   # one core for each of two workers
    done = subprocess.run([Path(sys.executable).parent/'nbdev_test', '--path', name, '--do_print'],
                          cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0 and 'Success.' in done.stdout: return
    lines = re.sub(r'\x1b\[[0-9;]*m', '', done.stderr + done.stdout[-500:]).strip().splitlines()
    pytest.fail('\n'.join([f'{name} fails; see it with `nbdev_test --path {name}`, or run it in JupyterLab:', *lines[-40:]]), pytrace=False)
