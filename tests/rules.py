"The project's own rules: functions of a checkout's root that return its faults, a line each. `test_project.py` asks all of them."
import ast
import configparser
import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

# imported inside the functions that use them
HEAVY = 'segmentation_models_pytorch', 'av', 'plotly', 'numba', 'ipywidgets', 'papermill', 'onnx'
MAX_NOTEBOOK_BYTES, MAX_MODULE_LINES, MAX_COMPLEXITY, MAX_LINE = 1_000_000, 350, 15, 140


# What there is

def notebooks(root):
    "All notebooks of a checkout."
    return sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(root).parts))


def experiments(root):
    "The templates that papermill runs."
    return [path for path in notebooks(root) if path.parent.name == 'experiments']


def modules(root):
    "All modules of the package, in all rooms."
    return sorted(p for p in (root/'vidseg').rglob('*.py') if p != root/'vidseg'/'_modidx.py' and p != root/'vidseg'/'__init__.py')


def dotted(path, root):
    "A module's name: `losses.temporal`; of a room's `__init__.py`: `losses.__init__`."
    return '.'.join(path.relative_to(root/'vidseg').with_suffix('').parts)


@functools.lru_cache(maxsize=512)
def _cells(path, _changed):
    return tuple(''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code')


def code_cells(notebook):
    "The sources of a notebook's code cells, in order."
    return _cells(notebook, notebook.stat().st_mtime_ns)


def is_export(source): return re.search(r'^#\|\s*exports?\b', source, re.MULTILINE) is not None


def defined_module(notebook):
    "Name of the module that a notebook exports, None where it exports none."
    found = re.search(r'^#\|\s*default_exp\s+([\w.]+)', '\n'.join(code_cells(notebook)), re.MULTILINE)
    return found and found[1]


def notebook_of(root):
    "{module name: its notebook}"
    return {module: path for path in notebooks(root) if (module := defined_module(path))}


def python(source):
    "A cell as Python: without the lines that IPython alone understands."
    return 'pass' if source.startswith('%%') else re.sub(r'(?m)^(\s*)[%!].*', r'\1pass', source)


def sources(root):
    "(where, Python source) of every module, script, test, and code cell."
    for path in [*modules(root), *(root/'data_scripts').rglob('*.py'), *(root/'tests').rglob('*.py'), root/'setup.py']:
        if path.exists(): yield str(path.relative_to(root)), path.read_text(encoding='utf-8')
    for path in notebooks(root):
        for i, cell in enumerate(code_cells(path)): yield f'{path.relative_to(root)} code cell {i}', python(cell)


# The rules

def modules_come_from_notebooks(root):
    "Modules found = notebooks with `default_exp` = `.py` files."
    defined, there = set(notebook_of(root)), {dotted(path, root) for path in modules(root)}
    yield from (f'{name}: a notebook defines it, vidseg/ has no such file' for name in sorted(defined - there))
    yield from (f'{name}: a file of vidseg/ that no notebook defines' for name in sorted(there - defined))


def clean_and_in_sync(root):
    "nbdev_clean and nbdev_export, run on a copy, change nothing."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ('settings.ini', 'setup.py', 'README.md'): shutil.copy(root/name, copy/name)
        shutil.copytree(root/'nbs', copy/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
        for command in ('nbdev_clean', 'nbdev_export'):
            done = subprocess.run([Path(sys.executable).parent/command], cwd=copy, capture_output=True, text=True)
            if done.returncode: yield f'{command} fails: {done.stderr.strip().splitlines()[-1:]}'
        fresh, ours = (_files(folder) for folder in (copy, root))
        yield from (str(name) for name in sorted(fresh.keys() | ours.keys()) if fresh.get(name) != ours.get(name))


def _files(folder):
    "Notebooks and modules of a checkout, as bytes."
    found = [*(folder/'nbs').rglob('*.ipynb'), *(folder/'vidseg').rglob('*.py')]
    return {path.relative_to(folder): path.read_bytes() for path in found if '.ipynb_checkpoints' not in path.parts}


def place(notebook, root):
    "Where a notebook stands: (number of its room, its own number); 0 for those outside of rooms."
    numbers = [int(found[0]) if (found := re.match(r'\d+', part)) else 0 for part in notebook.relative_to(root/'nbs').parts]
    return (0, *numbers)[-2:]


def imported(tree, package):
    "(line, name below vidseg) of all that a module imports of the package, at the top or inside a function. `package`: its own, as a list."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.removeprefix('vidseg.')) for alias in node.names if alias.name.startswith('vidseg.'))
        elif isinstance(node, ast.ImportFrom):
            above = ['vidseg', *package][:len(package) + 2 - node.level] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            if base.split('.')[0] != 'vidseg': continue
            for alias in node.names: yield node.lineno, f'{base}.{alias.name}'.removeprefix('vidseg.')


def imports_go_down(root):
    "A module imports only rooms before its own, and of its own only notebooks with a lower number; never a room's `__init__`."
    where = {module: place(path, root) for module, path in notebook_of(root).items()}
    rooms = {module.removesuffix('.__init__') for module in where if module.endswith('.__init__')}
    for path in modules(root):
        name = dotted(path, root)
        if name not in where: continue
        for line, target in imported(ast.parse(path.read_text(encoding='utf-8')), name.split('.')[:-1]):
            module = next((candidate for candidate in (target, target.rpartition('.')[0]) if candidate in where), None)
            said = f'{path.relative_to(root)}:{line} imports {target}'
            if module is None:
                if target.split('.')[0] in rooms: yield f'{said}: import the module that defines it, not its room'
            elif where[module] >= where[name] and not name.endswith('.__init__'): yield f'{said}, which does not come before it'
            elif module.split('.')[0] != name.split('.')[0] and where[module] >= where[name]: yield f'{said}, which does not come before it'


def import_is_light(root):
    "Importing the whole package initialises no GPU and loads none of the heavy parts that only some paths need."
    script = ('import importlib, json, sys\nseen, blame = set(), []\n'
              f'for module in {sorted(name.removesuffix(".__init__") for name in notebook_of(root))}:\n'
              '    importlib.import_module(f"vidseg.{module}")\n'
              f'    new = {{name for name in {HEAVY} if name in sys.modules}} - seen\n'
              '    blame += [f"vidseg.{module} loads {name}" for name in sorted(new)]\n'
              '    seen |= new\n'
              'import torch\n'
              'if torch.cuda.is_initialized(): blame.append("the GPU is initialised")\n'
              'print(json.dumps(blame))')
    done = subprocess.run([sys.executable, '-c', script], cwd=root, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if not done.returncode else [f'the package cannot be imported: {done.stderr[-2000:]}']


def one_list_of_dependencies(root):
    "environment.yml repeats settings.ini."
    parser = configparser.ConfigParser(delimiters=['='], interpolation=None)
    parser.read(root/'settings.ini', encoding='utf-8')
    settings = parser['DEFAULT']
    environment = yaml.safe_load((root/'environment.yml').read_text(encoding='utf-8'))
    listed = next(entry['pip'] for entry in environment['dependencies'] if isinstance(entry, dict))
    ours = [name for kind in ('', 'use_', 'notebooks_', 'dev_') for name in settings[f'{kind}requirements'].split()]
    if listed != ours: yield f'environment.yml: {sorted(set(listed) ^ set(ours)) or "another order"}'
    if environment['name'] != settings['lib_name']: yield 'environment.yml: another name than lib_name'
    if f"python={settings['min_python']}" not in environment['dependencies']: yield 'environment.yml: another Python than min_python'


def sizes(root):
    "A notebook opens at once, and a module is a page or three."
    for path in notebooks(root):
        if (size := path.stat().st_size) >= MAX_NOTEBOOK_BYTES: yield f'{path.relative_to(root)}: {size/1e6:.1f} MB'
    for path in modules(root):
        lines = len(path.read_text(encoding='utf-8').splitlines())
        if lines > MAX_MODULE_LINES: yield f'{path.relative_to(root)}: {lines} lines'


def public_names(path):
    "The `__all__` of a module."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__': return ast.literal_eval(node.value)
    return []


def every_export_is_checked(root):
    "After the cell that exports a public name, some other code cell of the notebook uses it."
    for module, notebook in notebook_of(root).items():
        path = root/'vidseg'/f"{module.replace('.', '/')}.py"
        cells = code_cells(notebook)
        for name in public_names(path) if path.exists() else []:
            mentions = [i for i, cell in enumerate(cells) if re.search(rf'\b{name}\b', cell)]
            exported = next((i for i in mentions if is_export(cells[i])), -1)
            used = any(i > exported and not is_export(cells[i]) for i in mentions)
            if not used: yield f'{notebook.relative_to(root)}: {name}'


def unsafe_calls(source):
    "(line, why) of every call that runs code from a file or a string that may come from elsewhere."
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call): continue
        true = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
        if ast.unparse(node.func) == 'torch.load' and 'weights_only' not in true: yield node.lineno, 'torch.load without weights_only=True'
        yield from ((node.lineno, f'{name}=True') for name in ('allow_pickle', 'shell') if name in true)


def nothing_unsafe(root):
    "A weight file, an array or a file name from elsewhere cannot run code."
    for where, source in sources(root):
        if not where.startswith('tests'): yield from (f'{where}, line {line}: {why}' for line, why in unsafe_calls(source))


BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case, ast.Lambda)


def complexity(function):
    "Ways through a function: every branch, loop, comprehension, if-expression, `and`, `or`, assert and lambda counts."
    ways = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES): ways += 1
        elif isinstance(node, ast.BoolOp): ways += len(node.values) - 1
        elif isinstance(node, ast.comprehension): ways += 1 + len(node.ifs)
    return ways


def no_labyrinths(root):
    "A function has at most so many ways through it, unless a comment `# complexity:` in it says why."
    for where, source in sources(root):
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)): continue
            ways, excused = complexity(node), '# complexity:' in (ast.get_source_segment(source, node) or '')
            if ways > MAX_COMPLEXITY and not excused: yield f'{where}: {node.name} has {ways}'


def short_lines(root):
    "No line is longer than a page is wide: code, whether it is exported or not, and the Snakefile."
    for where, source in [*sources(root), ('Snakefile', (root/'Snakefile').read_text(encoding='utf-8'))]:
        yield from (f'{where}, line {n}: {len(line)}' for n, line in enumerate(source.splitlines(), 1) if len(line) > MAX_LINE)


RUN_FILES = 'model.safetensors', 'run.json', 'recipe.json', 'metrics.json', 'log.csv', 'checkpoint-'


def runs_are_opened_in_one_place(root):
    "Only `training.runs` names the files of a run folder."
    for path in modules(root):
        if dotted(path, root) == 'training.runs': continue
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in RUN_FILES:
                yield f'{path.relative_to(root)}:{node.lineno} names {node.value}'


def code_digest(notebook):
    "A short name for a notebook's code."
    return hashlib.sha256('\0'.join(code_cells(notebook)).encode()).hexdigest()[:12]


def outputs_are_of_this_code(root):
    "A notebook shows something, and was executed as it stands (`make notebooks`); papermill's templates have no outputs."
    for path in notebooks(root):
        content = json.loads(path.read_text(encoding='utf-8'))
        has_outputs = any(cell.get('outputs') for cell in content['cells'])
        if path.parent.name == 'experiments':
            if has_outputs: yield f'{path.relative_to(root)}: a template with outputs'
        elif content['metadata'].get('executed') != code_digest(path):
            yield f'{path.relative_to(root)}: its code changed since it was executed'
        elif not has_outputs: yield f'{path.relative_to(root)}: it shows nothing'


def links_open(root):
    "Every link to a file, in README and in the notebooks' words, leads to one."
    texts = [(path, path.read_text(encoding='utf-8')) for path in [*root.glob('*.md'), *(root/'figures').glob('*.md')]]
    for path in notebooks(root):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        texts.append((path, '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')))
    for path, text in texts:
        for target in re.findall(r'\]\(([^)\s#]+)[^)]*\)', text):
            if not re.match(r'[a-z]+:', target) and not (path.parent/target).exists(): yield f'{path.relative_to(root)}: {target}'


ADVICE = {
    modules_come_from_notebooks: 'Delete a module that no notebook exports; run `make export`.',
    clean_and_in_sync: 'Run `make export`; change only notebooks, never vidseg/*.py.',
    imports_go_down: 'Move what both need into a notebook with a lower number, or pass it as an argument.',
    import_is_light: 'Import these inside the function that uses them; touch no GPU on import.',
    one_list_of_dependencies: 'settings.ini is the one list: copy it into environment.yml, in its order.',
    sizes: 'Show smaller or fewer pictures; a notebook that outgrows this is two ideas: split it.',
    every_export_is_checked: 'Add a cell with an assert below each, or begin the name with `_` if nobody else needs it.',
    nothing_unsafe: 'Load weights with weights_only=True (or safetensors), arrays without pickle; run programs from a list of arguments.',
    no_labyrinths: 'Give a part of it a name.',
    short_lines: 'One idea a line.',
    runs_are_opened_in_one_place: 'Ask `Run`.',
    outputs_are_of_this_code: 'Run `make notebooks`.',
    links_open: 'Mend the link.',
}
