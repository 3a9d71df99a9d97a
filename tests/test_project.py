"The project's own rules: clean notebooks, package in sync, imports that only go down, one list of dependencies, nothing unsafe."
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
import yaml
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(ROOT).parts))
LIBRARY = [p for p in NOTEBOOKS if p.parent == ROOT/'nbs' and p.name[0].isdigit()]
EXPERIMENTS = [p for p in NOTEBOOKS if p.parent.name == 'experiments']
MODULES = sorted(p for p in (ROOT/'vidseg').glob('*.py') if p.name[0] != '_')
HEAVY = 'segmentation_models_pytorch', 'av', 'plotly', 'numba', 'ipywidgets', 'papermill'   # imported inside the functions that use them
MAX_NOTEBOOK_BYTES, MAX_MODULE_LINES = 1_000_000, 320


def relative(path): return str(path.relative_to(ROOT))


def complain(what, faults, advice):
    "Fail when there are faults: what, the faults one a line, and what to do."
    if faults: pytest.fail('\n'.join([f'{what}:', *(f'  {fault}' for fault in faults), advice]), pytrace=False)


def code_cells(notebook):
    "The sources of a notebook's code cells, in order."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']


def is_export(source): return re.search(r'^#\|\s*exports?\b', source, re.MULTILINE) is not None


def defined_module(notebook):
    "Name of the module that a notebook exports, None where it exports none."
    found = re.search(r'^#\|\s*default_exp\s+(\w+)', '\n'.join(code_cells(notebook)), re.MULTILINE)
    return found and found[1]


@pytest.fixture(scope='module')
def notebook_of():
    "{module name: its library notebook}"
    return {module: path for path in LIBRARY if (module := defined_module(path))}


def test_clean_and_in_sync(tmp_path):
    "nbdev_clean and nbdev_export, run on a copy, change nothing."
    for name in ('settings.ini', 'setup.py', 'README.md'): shutil.copy(ROOT/name, tmp_path/name)
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    for command in ('nbdev_clean', 'nbdev_export'):
        done = subprocess.run([Path(sys.executable).parent/command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f'{command} fails:\n{done.stderr[-2000:]}'
    fresh, ours = [{p.relative_to(folder): p.read_bytes() for p in [*(folder/'nbs').rglob('*.ipynb'), *(folder/'vidseg').glob('*.py')]
                    if '.ipynb_checkpoints' not in p.parts} for folder in (tmp_path, ROOT)]
    differ = [str(name) for name in sorted(fresh.keys() | ours.keys()) if fresh.get(name) != ours.get(name)]
    complain('not clean, or not what the notebooks export', differ,
             'Run `nbdev_clean`, then `nbdev_export`; delete a module that no notebook exports; change only notebooks, never vidseg/*.py.')


@pytest.mark.parametrize('notebook', EXPERIMENTS, ids=lambda path: path.stem)
def test_one_parameters_cell(notebook):
    "papermill sets parameters only where exactly one cell carries the tag; without it, it silently runs the defaults."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    tagged = [i for i, cell in enumerate(cells) if 'parameters' in cell['metadata'].get('tags', ())]
    assert len(tagged) == 1 and cells[tagged[0]]['cell_type'] == 'code', \
        f'{relative(notebook)} has {len(tagged)} cells tagged `parameters` ({tagged}): tag exactly one code cell (gear icon in JupyterLab)'


def imported_modules(tree, modules):
    "(line, name) of every module of the package imported anywhere in a syntax tree, at the top or inside a function."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(filter(None, ['vidseg' if node.level else '', node.module]))
            names = [base] if base != 'vidseg' else [f'vidseg.{alias.name}' for alias in node.names]
        else: continue
        for name in names:
            package, _, module = name.partition('.')
            if package == 'vidseg' and module.split('.')[0] in modules: yield node.lineno, module.split('.')[0]


def test_finds_every_kind_of_import():
    "The test below would be empty if it overlooked a way to write an import."
    source = ('import vidseg.a\nfrom vidseg.b import x\nfrom vidseg import c, __version__\nfrom .d import y\n'
              'def f():\n from . import e\n import os, vidseg.f as g')
    assert [name for _, name in sorted(imported_modules(ast.parse(source), set('abcdef')))] == list('abcdef')


def test_imports_go_down(notebook_of):
    "A module imports only modules of notebooks with a lower number."
    number = {module: int(re.match(r'\d+', path.name)[0]) for module, path in notebook_of.items()}
    wrong = []
    for path in MODULES:
        if path.stem not in number: wrong.append(f'{relative(path)} comes from no notebook with a number: delete it, or export it from one')
        for line, module in imported_modules(ast.parse(path.read_text(encoding='utf-8')), number):
            if number[module] < number.get(path.stem, 100): continue
            wrong.append(f'{relative(path)}:{line} (number {number[path.stem]}) imports vidseg.{module} (number {number[module]})')
    complain('imports that do not go down', wrong, 'Move what both need into a notebook with a lower number, or pass it as an argument.')


def test_import_is_light(notebook_of):
    "Importing the whole package initialises no GPU and loads none of the heavy parts that only some paths need."
    script = ('import importlib, json, sys\nseen, blame = set(), []\n'
              f'for module in {sorted(notebook_of, key=notebook_of.get)}:\n'
              '    importlib.import_module(f"vidseg.{module}")\n'
              f'    new = {{name for name in {HEAVY} if name in sys.modules}} - seen\n'
              '    blame += [f"vidseg.{module} loads {name}" for name in sorted(new)]\n'
              '    seen |= new\n'
              'import torch\n'
              'if torch.cuda.is_initialized(): blame.append("the GPU is initialised")\n'
              'print(json.dumps(blame))')
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f'the package cannot be imported:\n{done.stderr[-2000:]}'
    complain('importing is not light', json.loads(done.stdout.splitlines()[-1]),
             'Import these inside the function that uses them; touch no GPU on import.')


def test_one_list_of_dependencies():
    "environment.yml repeats settings.ini."
    parser = configparser.ConfigParser(delimiters=['='], interpolation=None)
    parser.read(ROOT/'settings.ini', encoding='utf-8')
    settings = parser['DEFAULT']
    environment = yaml.safe_load((ROOT/'environment.yml').read_text(encoding='utf-8'))
    ours = next(entry['pip'] for entry in environment['dependencies'] if isinstance(entry, dict))
    advice = 'settings.ini is the one list: copy requirements, then dev_requirements, into the pip list of environment.yml, in this order.'
    assert ours == settings['requirements'].split() + settings['dev_requirements'].split(), advice
    assert environment['name'] == settings['lib_name'] and f"python={settings['min_python']}" in environment['dependencies'], advice


def test_sizes():
    "A notebook opens at once, and a module is a page or three."
    big = [f'{relative(p)}: {p.stat().st_size/1e6:.1f} MB' for p in NOTEBOOKS if p.stat().st_size >= MAX_NOTEBOOK_BYTES]
    complain('notebooks over 1 MB', big, 'Show smaller or fewer pictures; plotly figures take plotly.js from the CDN.')
    long = [f'{relative(p)}: {n} lines' for p in MODULES if (n := len(p.read_text(encoding='utf-8').splitlines())) > MAX_MODULE_LINES]
    complain(f'modules over {MAX_MODULE_LINES} lines', long, 'A notebook that outgrows this is two ideas: split it.')


def public_names(path):
    "The `__all__` of a module."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__': return ast.literal_eval(node.value)
    return []


def test_every_export_is_checked(notebook_of):
    "After the cell that exports a public name, some other code cell of the notebook uses it."
    unchecked = []
    for module, notebook in notebook_of.items():
        cells = code_cells(notebook)
        for name in public_names(ROOT/'vidseg'/f'{module}.py'):
            mentions = [i for i, cell in enumerate(cells) if re.search(rf'\b{name}\b', cell)]
            exported = next((i for i in mentions if is_export(cells[i])), -1)
            if not any(i > exported and not is_export(cells[i]) for i in mentions): unchecked.append(f'{relative(notebook)}: {name}')
    complain('public names without a check', unchecked,
             'Add a cell with an assert below each, or begin the name with `_` if nobody else needs it.')


def unsafe_calls(source):
    "(line, why) of every call that runs code from a file or a string that may come from elsewhere."
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call): continue
        true = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
        if ast.unparse(node.func) == 'torch.load' and 'weights_only' not in true: yield node.lineno, 'torch.load without weights_only=True'
        yield from ((node.lineno, f'{name}=True') for name in ('allow_pickle', 'shell') if name in true)


def test_finds_every_unsafe_call():
    "The test below would be empty if it overlooked one of them."
    source = ('torch.load(f)\ntorch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)\nsubprocess.run(c,\n shell=True)\n'
              'torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)')
    assert sorted(line for line, _ in unsafe_calls(source)) == [1, 2, 3, 4]


def test_nothing_unsafe():
    "A weight file, an array or a file name from elsewhere cannot run code."
    sources = [(relative(p), p.read_text(encoding='utf-8')) for p in [*MODULES, *sorted((ROOT/'data_scripts').rglob('*.py'))]]
    for path in NOTEBOOKS:
        cells = [(i, re.sub(r'(?m)^(\s*)[%!].*', r'\1pass', cell)) for i, cell in enumerate(code_cells(path)) if not cell.startswith('%%')]
        sources += [(f'{relative(path)} code cell {i}', cell) for i, cell in cells]
    faults = [f'{where}, line {line}: {why}' for where, source in sources for line, why in unsafe_calls(source)]
    complain('unsafe calls', faults,
             'Load weights with weights_only=True (or safetensors), arrays without pickle; run programs from a list of arguments.')


@pytest.mark.parametrize('folder', ['', 'faces'])
def test_claims_recomputed(folder):
    "Effect, interval and verdict of every committed claim follow from the numbers of the single runs, and from what experiments.yaml says is claimed."
    claims, runs = (pd.read_csv(ROOT/'figures'/folder/f'{name}.csv') for name in ('claims', 'claims_seeds'))
    said = {claim['claim']: claim for claim in yaml.safe_load((ROOT/'nbs'/'experiments'/'experiments.yaml').read_text())['claims']}
    assert len(claims)
    for claim in claims[claims.verdict != 'not run'].itertuples():
        by_seed, schemes, others = runs.pivot(index='seed', columns='scheme', values=claim.metric), claim.scheme.split(', '), claim.against.split(', ')
        pairs = zip(schemes, others*len(schemes) if len(others) == 1 else others, strict=True)
        first = lambda other: by_seed[other].dropna().iloc[0]         # a student's teacher is that of the first seed
        differences = [(by_seed[scheme] - (first(other) if other.startswith('teacher') and not scheme.startswith('teacher') else by_seed[other])).dropna() for scheme, other in pairs]
        sample = differences[0] if len(differences) == 1 else pd.Series([each.mean() for each in differences])     # over seeds; over networks or methods
        sign, margin = -1 if said[claim.claim].get('falls') else 1, said[claim.claim].get('margin', 0)
        supports = sign*sample + margin
        low, high = stats.ttest_1samp(supports, 0).confidence_interval(.95) if len(sample) > 1 else (np.nan, np.nan)
        where = f'{claim.claim} ({claim.scheme} against {claim.against})'
        assert len(sample) == claim.samples and abs(sample.mean() - claim.difference) < 1e-3 and abs(supports.mean() - claim.effect) < 1e-3, where
        assert np.isclose((high - low)/2, claim.ci95, atol=1e-3, equal_nan=True), where
        assert claim.verdict == ('reproduced' if low > 0 else 'not reproduced' if high < 0 else 'undecided'), where


def test_results_in_readme():
    "Every row and every number with an interval of the results in README.md stands, letter by letter, in a table under figures/."
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    results = text[text.index('## Results'):text.index('## Use it')]
    rows = [line for line in results.splitlines() if line.startswith('|') and not line.startswith('|---')]
    def committed(name): # what was committed counts, not what `make reproduce` has written since; without git, the files as they are
        done = subprocess.run(['git', '-C', str(ROOT), 'show', f'HEAD:{name}'], capture_output=True, text=True, encoding='utf-8')
        return done.stdout if done.returncode == 0 else (ROOT/name).read_text(encoding='utf-8')
    files = {relative(path): committed(relative(path)).splitlines() for path in (ROOT/'figures').rglob('*.md') if path.name != 'README.md'}
    assert rows, 'README.md shows no results'
    backed = {line for lines in files.values() for line in lines}
    complain('rows of README.md that no file backs', [row for row in rows if row not in backed], f'Copy them from {", ".join(files)}.')
    everything, prose = '\n'.join(backed), '\n'.join(line for line in results.splitlines() if not line.startswith('|'))
    said = re.findall(r'[+-]?\d+\.\d+ ± \d+\.\d+', prose) + re.findall(r'\[(Claims of .+?)\]', prose)
    complain('said in README.md, but in no file', [text for text in said if text not in everything], 'Say it as the files do.')
