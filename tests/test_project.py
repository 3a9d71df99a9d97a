"The project's own rules (`rules.py`) are kept, and a violation planted in a room is found. Committed results follow from the runs."
import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rules
import yaml
from packaging.requirements import Requirement
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.quick


def complain(rule, faults):
    "Fail when there are faults: what, the faults one a line, and what to do."
    if faults: pytest.fail('\n'.join([f'Not so: {rule.__doc__}', *(f'  {fault}' for fault in faults), rules.ADVICE[rule]]), pytrace=False)


@pytest.mark.parametrize('rule', list(rules.ADVICE), ids=lambda rule: rule.__name__)
def test_rule(rule): complain(rule, list(rule(ROOT)))


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    "A copy of the checkout that may be spoilt."
    copy = tmp_path_factory.mktemp('copy')
    for name in ('nbs', 'vidseg', 'data_scripts', 'tests', 'figures'):
        shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns('.ipynb_checkpoints', '__pycache__'))
    files = [ROOT/name for name in ('settings.ini', 'setup.py', 'environment.yml', 'Snakefile', 'CITATION.cff')]
    for path in [*ROOT.glob('*.md'), *files]: shutil.copy(path, copy)
    return copy


def add_cell(notebook, source):
    "Put a code cell at a notebook's end."
    content = json.loads(notebook.read_text(encoding='utf-8'))
    cell = dict(cell_type='code', id='planted0', metadata={}, source=source.splitlines(keepends=True), outputs=[], execution_count=None)
    content['cells'].append(cell)
    notebook.write_text(json.dumps(content))


def add_lines(path, text): path.write_text(path.read_text(encoding='utf-8') + text, encoding='utf-8')


WARP, NOTEBOOK = 'vidseg/motion/warp.py', 'nbs/2_motion/01_warp.ipynb'
LABYRINTH = 'def lost(x):\n' + '\n'.join(f'    if x == {n}: return {n}' for n in range(16)) + '\n'
PLANTED = [   # what breaks which rule, all of it inside a room
    (rules.modules_come_from_notebooks, lambda root: (root/'vidseg/motion/stray.py').write_text('x = 1\n')),
    (rules.modules_come_from_notebooks, lambda root: (root/'vidseg/losses/pairwise.py').unlink()),
    (rules.clean_and_in_sync, lambda root: add_lines(root/WARP, '\n# by hand\n')),
    (rules.imports_go_down, lambda root: add_lines(root/WARP, '\nfrom ..training.training import train\n')),
    (rules.imports_go_down, lambda root: add_lines(root/WARP, '\ndef late():\n    from .flow import estimate_flow\n')),
    (rules.imports_go_down, lambda root: add_lines(root/WARP, '\nfrom vidseg.data import ClipFolder\n')),
    (rules.sizes, lambda root: add_lines(root/WARP, '\n'*400)),
    (rules.every_export_is_checked, lambda root: export_unchecked(root)),
    (rules.nothing_unsafe, lambda root: add_lines(root/WARP, '\ntorch.load("x", weights_only=False)\n')),
    (rules.nothing_unsafe, lambda root: add_cell(root/NOTEBOOK, 'np.load(f, allow_pickle=True)')),
    (rules.no_labyrinths, lambda root: add_lines(root/WARP, LABYRINTH)),
    (rules.short_lines, lambda root: add_cell(root/NOTEBOOK, f'x = "{"a"*150}"')),
    (rules.runs_are_opened_in_one_place, lambda root: add_lines(root/WARP, "\nfile = 'metrics.json'\n")),
    (rules.outputs_are_of_this_code, lambda root: add_cell(root/NOTEBOOK, 'x = 2')),
    (rules.links_open, lambda root: add_lines(root/'README.md', '\n[nowhere](nbs/2_motion/07_nowhere.ipynb)\n')),
    (rules.one_list_of_dependencies, lambda root: add_lines(root/'environment.yml', '    - "stray"\n')),
]


def export_unchecked(root):
    "A public name that nothing looks at."
    add_cell(root/NOTEBOOK, '#| export\ndef unchecked(): pass')
    text = (root/WARP).read_text(encoding='utf-8')
    (root/WARP).write_text(text.replace('__all__ = [', "__all__ = ['unchecked', ", 1), encoding='utf-8')


@pytest.mark.parametrize('number', range(len(PLANTED)), ids=lambda n: f'{PLANTED[n][0].__name__}-{n}')
def test_planted_violation_is_found(number, checkout):
    "Every rule is broken somewhere inside a room, and says so; and holds again when that is mended."
    rule, plant = PLANTED[number]
    touched = [checkout/name for name in (WARP, NOTEBOOK, 'README.md', 'environment.yml', 'vidseg/losses/pairwise.py')]
    kept, stray = {path: path.read_bytes() for path in touched}, checkout/'vidseg/motion/stray.py'
    before = set(rule(checkout)) if rule is not rules.clean_and_in_sync else set()
    try:
        plant(checkout)
        assert set(rule(checkout)) - before
    finally:
        for path, content in kept.items(): path.write_bytes(content)
        stray.unlink(missing_ok=True)


def test_finds_every_kind_of_import():
    "The rule above would be empty if it overlooked a way to write an import."
    source = ('import vidseg.a.x\nfrom vidseg.b.x import y\nfrom vidseg import c, __version__\nfrom .d import y\nfrom ..e.x import y\n'
              'def f():\n from . import g\n import os, vidseg.h as i')
    found = [name for _, name in sorted(rules.imported(ast.parse(source), ['room']))]
    assert found == ['a.x', 'b.x.y', '__version__', 'c', 'room.d.y', 'e.x.y', 'room.g', 'h']


def test_finds_every_unsafe_call():
    "The rule above would be empty if it overlooked one of them."
    source = ('torch.load(f)\ntorch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)\nsubprocess.run(c,\n shell=True)\n'
              'torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)')
    assert sorted(line for line, _ in rules.unsafe_calls(source)) == [1, 2, 3, 4]


def test_counts_every_way():
    "Complexity counts what a reader has to think about."
    source = 'def f(x):\n  assert x\n  if x and x > 1 or x < 0: return [y for y in x if y]\n  return (lambda: 1) if x else 2'
    assert rules.complexity(ast.parse(source).body[0]) == 1 + 1 + 1 + 2 + 2 + 1 + 1


def test_ruff():
    "`ruff check` holds lines, names and the usual bugs."
    done = subprocess.run([Path(sys.executable).parent/'ruff', 'check', '.'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize('notebook', rules.experiments(ROOT), ids=lambda path: path.stem)
def test_one_parameters_cell(notebook):
    "papermill sets parameters only where exactly one cell carries the tag; without it, it silently runs the defaults."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    tagged = [i for i, cell in enumerate(cells) if 'parameters' in cell['metadata'].get('tags', ())]
    assert len(tagged) == 1 and cells[tagged[0]]['cell_type'] == 'code', \
        f'{notebook.name} has {len(tagged)} cells tagged `parameters` ({tagged}): tag exactly one code cell (gear icon in JupyterLab)'


def test_constraints_are_of_the_requirements():
    "constraints.txt has a version of everything that settings.ini asks for, within its range."
    settings = configparser.ConfigParser()
    settings.read(ROOT/'settings.ini')
    asked = [Requirement(text) for name, texts in settings['DEFAULT'].items() if name.endswith('requirements') for text in texts.split()]
    lines = (ROOT/'constraints.txt').read_text(encoding='utf-8').splitlines()[1:]
    fixed = dict(line.split('==') for line in lines)
    assert set(fixed) == {one.name for one in asked} and all(one.specifier.contains(fixed[one.name]) for one in asked)


def test_map_is_the_folder_list():
    "README's map names every room and every notebook in it."
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    shown = {path for path in re.findall(r'\]\((nbs/[^)]+)\)', text)}
    lessons = {str(path.relative_to(ROOT)) for path in rules.notebooks(ROOT) if path.parent.name != 'experiments'}
    assert lessons <= shown, f'README.md does not show {sorted(lessons - shown)}'


def differences(claim, runs):
    "What a committed claim is tested on: a number a replicate, of several networks or methods their mean."
    by_replicate = runs.assign(value=runs[claim.metric.split(', ')].mean(axis=1)).pivot(index='seed', columns='scheme', values='value')
    schemes, others = claim.scheme.split(', '), claim.against.partition(' (largest p')[0].split(', ')
    pairs = zip(schemes, others*len(schemes) if len(others) == 1 else others, strict=True)
    return pd.concat([by_replicate[scheme] - by_replicate[other] for scheme, other in pairs], axis=1).mean(axis=1, skipna=False).dropna()


def sign(claim, said):
    "+1 where the claim's metric is to rise; flicker falls where TC rises."
    return (-1 if said.get('falls') else 1)*(-1 if claim.metric == 'flicker' and said['metric'] == 'tc' else 1)


CLAIMS = sorted(str(path.parent.relative_to(ROOT/'figures')) for path in (ROOT/'figures').rglob('claims.csv'))


def step_by_step(p, alpha=.05):
    "Which tests of a family hold, by Holm's procedure as it is told: the smallest p first, until one fails."
    held, left = set(), sorted(p, key=p.get)
    while left and p[left[0]] < alpha/len(left): held.add(left.pop(0))
    return held


def check_plain(claim, entry, runs, held):
    "A claim on plain differences: effect, interval, p and verdict, from the single runs."
    where = f'{claim.claim} ({claim.scheme} against {claim.against}, {claim.metric})'
    sample = differences(claim, runs)
    supports = sign(claim, entry)*sample + claim.margin
    assert len(sample) == claim.n and abs(sample.mean() - claim.difference) < 1e-3, where
    assert abs(supports.mean() - claim.effect) < 1e-3, where
    assert (claim.verdict == 'one replicate') == (claim.n < 2), where
    if claim.n > 1 and sample.std() and not isinstance(entry['against'], list): check_test(claim, supports, held, where)


def check_test(claim, supports, held, where):
    "The t-test against one other, and what follows from it."
    test = stats.ttest_1samp(supports, 0)
    assert np.allclose([claim.lower, claim.upper], test.confidence_interval(.95), atol=1e-3), where
    assert np.isclose(claim.p, test.pvalue, rtol=1e-2), where
    found = claim.Index in held if claim.family == 'primary' else test.pvalue < .05
    assert found == claim.verdict.startswith(('reproduced', 'not reproduced', 'trade')), where
    assert not found or (claim.effect > 0) == claim.verdict.startswith(('reproduced', 'trade')), where


def test_claims_are_committed(): assert CLAIMS


@pytest.mark.parametrize('folder', CLAIMS)
def test_claims_recomputed(folder):
    "Effect, interval, p and verdict of every committed claim on plain differences follow from the single runs and experiments.yaml."
    claims, runs = (pd.read_csv(ROOT/'figures'/folder/f'{name}.csv') for name in ('claims', 'claims_seeds'))
    content = yaml.safe_load((ROOT/'nbs'/'experiments'/'experiments.yaml').read_text(encoding='utf-8'))
    said = {claim['claim']: claim for claim in content['claims']}
    first = claims[claims.family == 'primary']
    held = step_by_step(dict(zip(first.index, first.p.fillna(1))))
    assert len(claims) and len(first) in (0, 10)
    for claim in claims[(claims.verdict != 'not run') & (claims.metric != 'mean_rank')].itertuples():
        if 'less' not in said[claim.claim]: check_plain(claim, said[claim.claim], runs, held)


def committed(name):
    "What was committed counts, not what `make reproduce` has written since; without git, the files as they are."
    done = subprocess.run(['git', '-C', str(ROOT), 'show', f'HEAD:{name}'], capture_output=True, text=True, encoding='utf-8')
    return done.stdout if done.returncode == 0 else (ROOT/name).read_text(encoding='utf-8')


def said_in_prose(text):
    "Numbers with an interval, and titles of claims, outside of tables."
    prose = '\n'.join(line for line in text.splitlines() if not line.startswith('|'))
    return re.findall(r'[+-]?\d+\.\d+ ± \d+\.\d+', prose) + re.findall(r'\[(Claims of .+?)\]', prose)


def test_results_in_readme():
    "Every row and every number with an interval of the results in README.md stands, letter by letter, in a table under figures/."
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    results = text[text.index('## Results'):text.index('## Use it')]
    rows = [line for line in results.splitlines() if line.startswith('|') and not line.startswith('|---')]
    files = [str(path.relative_to(ROOT)) for path in (ROOT/'figures').rglob('*.md') if path.name != 'README.md']
    backed = {line for name in files for line in committed(name).splitlines()}
    assert rows, 'README.md shows no results'
    assert set(rows) <= backed, f'no file backs these rows of README.md: {set(rows) - backed}; copy them from {files}'
    missing = set(said_in_prose(results)) - {text for text in said_in_prose(results) if text in '\n'.join(backed)}
    assert not missing, f'say it as the files do: {missing}'
