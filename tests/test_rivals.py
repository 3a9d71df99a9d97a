"The rivals of Table IX: trained, interrupted, started from a SOLOv2, and measured as all others."
import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from vidseg.data.clips import ClipFolder
from vidseg.data.worlds import write_world
from vidseg.networks.models import read_weights
from vidseg.training.evaluation import evaluate
from vidseg.training.recipe import Recipe
from vidseg.training.runs import Run
from vidseg.training.tasks import TASKS
from vidseg.training.terms import TERMS
from vidseg.training.training import train

TRUNK = Recipe('trunk', 'data/other', steps=3, model='solov2_mini', encoder_weights=None, batch_size=2, task='instances', optimizer='adamw',
               lr=1e-3, terms={'solo': 1.}, scale=(1, 1))
FROM_TRUNK = dict(data='data/play', start=f'runs/{TRUNK.folder.name}', batch_size=4, flow='exact', max_gap=1)
RIVALS = dict(
    track=replace(TRUNK, name='track', model='solov2_mini_track', terms={'solo': 1., 'track_head': 1.},
                  new_layers=('track_head', 'classes'), **FROM_TRUNK),
    stem=replace(TRUNK, name='stem', model='stem_mini', terms={'stem': 1.}, new_layers=('clusters', 'semantics'), **FROM_TRUNK),
)


MEASURED = 'ap', 'ap50', 'ar10', 'frame_ap', 'hota'


def same(some, others, keys):
    "Those of the weights that are equal."
    return [key for key in keys if torch.equal(some[key], others[key])]


def logged(run):
    "The rows of its log, as numbers."
    with open(run.log_file) as lines: return [[float(value) for value in row.values()] for row in csv.DictReader(lines)]


@pytest.fixture(scope='module', autouse=True)
def root(tmp_path_factory):
    "A root with two small worlds, and a SOLOv2 that was trained on the first."
    folder, kept = tmp_path_factory.mktemp('root'), os.environ.get('VIDSEG_ROOT')
    os.environ['VIDSEG_ROOT'] = str(folder)
    size = dict(world='actors', length=6, size=(64, 96), gaps=(1,))
    write_world(folder/'data'/'other', 'train', clips=2, seed=5, **size)
    for split in ('train', 'val'): write_world(folder/'data'/'play', split, clips=2, **size)
    train(TRUNK, progress=False)
    yield folder
    del os.environ['VIDSEG_ROOT']
    if kept: os.environ['VIDSEG_ROOT'] = kept


@pytest.mark.parametrize('name', RIVALS)
def test_trains_and_is_measured(name):
    "Every term learns, the trunk begins as the SOLOv2's; what is found is linked and measured."
    recipe = RIVALS[name]
    trunk, start = (read_weights(run.weights) for run in (Run.of(TRUNK), Run(train(replace(recipe, steps=0), progress=False))))
    shared = [key for key in trunk if key.startswith(('encoder.', 'pyramid.'))]
    assert len(shared) > 200 and same(trunk, start, shared) == shared
    run = Run(train(recipe, progress=False))
    trained = read_weights(run.weights)
    new = [key for key in trained if key.startswith(recipe.new_layers)]
    assert new and not same(trained, start, new), 'what is new learns'
    assert same(trained, trunk, shared) != shared, 'and the trunk with it'
    check_numbers(run)


def check_numbers(run):
    "What was logged and what is measured are numbers."
    found = evaluate(run.folder, flow='exact', flow_cache=None, progress=False)
    assert all(0 <= found[metric] <= 100 for metric in MEASURED), found
    rows = logged(run)
    assert len(rows) == 3 and np.isfinite(rows).all(), rows
    print(rows[-1], {metric: found[metric] for metric in MEASURED})


@pytest.mark.parametrize('name', RIVALS)
def test_what_is_found_is_linked(name, root):
    "Layers that are sure of everything: no more than ten of a frame are linked, and their tracks are what the task measures."
    run = Run(train(RIVALS[name], progress=False))
    model, [clip, *_] = run.model().eval(), ClipFolder(root/'data'/'play').clips('val')
    if name == 'stem': model.foreground, model.how = 0., dict(seed=0.)
    else: torch.nn.init.constant_(model.classes.bias, 1.)
    [walk] = TASKS['instances'].walk(model, clip)
    assert walk.pred and sum((track.areas > 0).sum() for track in walk.pred) <= 10*len(clip)


@pytest.mark.parametrize('name', RIVALS)
def test_goes_on_bit_for_bit(name, root, monkeypatch):
    "Interrupted behind a checkpoint and carried on: the same weights."
    recipe = RIVALS[name]
    whole = Run(train(recipe, progress=False))
    expected = read_weights(whole.weights)
    whole.folder.rename(root/f'whole-{name}')
    term = list(recipe.terms)[-1]
    loss, steps = TERMS[term].loss, []

    def interrupted(step):
        steps.append(step)
        if len(steps) == 3: raise KeyboardInterrupt
        return loss(step)
    monkeypatch.setitem(TERMS, term, replace(TERMS[term], loss=interrupted))
    with pytest.raises(KeyboardInterrupt): train(recipe, checkpoint_every=1, progress=False)
    monkeypatch.undo()
    again = Run(train(recipe, progress=False))
    assert again.provenance['resumed_from'] == 2
    weights = read_weights(again.weights)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize('name', RIVALS)
def test_only_its_network_learns_a_term(name):
    "A rival's term is refused with a network that has no such head, in a line."
    recipe = replace(TRUNK, terms=RIVALS[name].terms)
    with pytest.raises(ValueError, match=r"loss term '\w+' is for a \w+, which solov2_mini is not$"): train(recipe, progress=False)
