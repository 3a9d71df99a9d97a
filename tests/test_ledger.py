"The committed ledgers: what they say follows from what was counted, and every entry is that of its recipe."
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vidseg.training.experiments import Experiment
from vidseg.training.ledger import Ledger
from vidseg.training.verify import not_asked_for, train_again
from vidseg.workspace import root

LEDGERS = sorted(path for path in (root()/'figures').rglob('ledger') if path.is_dir())


@pytest.mark.quick
def test_there_are_some(): assert LEDGERS


@pytest.mark.quick
@pytest.mark.parametrize('folder', LEDGERS, ids=lambda path: str(path.relative_to(root()/'figures')))
def test_no_entry_contradicts_itself(folder):
    "An edited number, sums that cannot be, other labels than the others', a recipe that now gives another name."
    ledger = Ledger(folder)
    assert ledger.entries() and ledger.faults() == {}


@pytest.mark.quick
@pytest.mark.parametrize('data', ['street', 'faces', 'camvid'])
def test_every_entry_stands_in_a_table(data):
    "A changed recipe makes entries of no use: what was trained for hours is then in no table."
    assert not_asked_for(Experiment('report', data)) == []


@pytest.mark.quick
@pytest.mark.parametrize('folder', LEDGERS, ids=lambda path: str(path.relative_to(root()/'figures')))
def test_entries_are_small(folder):
    "One small file a run; the pictures of one take 200 kB at most."
    for entry in Ledger(folder).entries():
        assert entry.path.stat().st_size < 300_000, entry
        assert sum(path.stat().st_size for path in entry.path.with_suffix('').glob('*')) <= 200_000, entry


def test_an_entry_is_trained_again():
    "One of those that need neither a teacher nor other runs, drawn at random: about four minutes of a processor."
    report = Experiment('report')
    def is_short(recipe): return 0 < recipe.steps <= 600 and not (recipe.teacher or recipe.networks or recipe.start)
    short = [entry for entry in report.ledger.entries() if is_short(entry.recipe)]
    of_scheme = Counter(entry.recipe.name for entry in short)
    entry = random.choice([entry for entry in short if of_scheme[entry.recipe.name] >= 4])     # their spread is known
    verdict = train_again(report, entry, progress=False)
    print(verdict)
    assert verdict.holds, verdict


def test_what_was_trained_again_is_kept(tmp_path):
    "`vidseg verify --keep` trains nothing that the second ledger has."
    entry = Experiment('report').ledger.entries()[0]
    shutil.copy(entry.path, tmp_path)
    command = [Path(sys.executable).parent/'vidseg', 'verify', entry.path, '--keep', tmp_path]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and 'their numbers follow from their sums' in done.stdout, done.stderr
    assert 'trained again' not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [entry.path.name]
