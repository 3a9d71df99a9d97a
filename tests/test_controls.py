"What the temporal loss is compared with, from a recipe to numbers: terms of weight 0, no motion, no mask, copies; and smoothing."
import os
from dataclasses import replace

import pytest

from vidseg.data.worlds import write_world
from vidseg.training.evaluation import evaluate
from vidseg.training.recipe import Recipe
from vidseg.training.runs import Run
from vidseg.training.training import train

TL = Recipe('TL', 'data/tiny', steps=4, model='pspnet_mobilenetv2_050', encoder_weights=None, batch_size=2, scale=(1, 1),
            optimizer='adamw', lr=1e-3, terms={'cross_entropy': 1., 'temporal': .5})
CONTROLS = dict(weight_0=dict(terms={'cross_entropy': 1., 'temporal': 0.}), still=dict(flow='zero'), unweighted=dict(weighting='none'),
                copies=dict(sampling='copies'), far=dict(neighbours='four'))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A root with a small world."
    folder, kept = tmp_path_factory.mktemp('root'), os.environ.get('VIDSEG_ROOT')
    os.environ['VIDSEG_ROOT'] = str(folder)
    write_world(folder/'data'/'tiny', 'train', clips=2, labels='one', length=24, size=(32, 64))
    write_world(folder/'data'/'tiny', 'val', clips=1, length=6, size=(32, 64), gaps=(1,))
    yield folder
    del os.environ['VIDSEG_ROOT']
    if kept: os.environ['VIDSEG_ROOT'] = kept


def trained(recipe): return Run(train(recipe, progress=False))


def measured(run): return evaluate(run.folder, flow='exact', flip=False, progress=False)


@pytest.fixture(scope='module')
def runs(root):
    "TL and its controls."
    return {name: trained(replace(TL, name=name, **changes)) for name, changes in dict(TL={}, **CONTROLS).items()}


def test_controls_see_the_same(runs):
    "They begin with the same loss on labels, where they see the same frames, and with a temporal loss of their own."
    first = {name: run.log()[0] for name, run in runs.items()}
    assert first['weight_0']['cross_entropy'] == first['still']['cross_entropy'] == first['unweighted']['cross_entropy']
    assert first['weight_0']['total'] == first['weight_0']['cross_entropy'] == first['TL']['cross_entropy']
    assert first['weight_0']['temporal'] == first['TL']['temporal'] < first['unweighted']['temporal']
    assert len({row['temporal'] for row in first.values()}) == len(runs) - 1


def test_controls_learn_something_else(runs):
    "No two of them end with the same weights; more frames need more memory, a weight does not."
    assert len({run.digest for run in runs.values()}) == len(runs)
    held = {name: run.provenance['step_memory_mb'] for name, run in runs.items()}
    assert held['TL'] == held['weight_0'] and held['far'] == max(held.values()) > held['TL']


def test_smoothing_is_a_run_like_others(root):
    "A run of 0 steps is evaluated beside the one it smooths; smoothing that changes nothing gives its numbers."
    network = trained(TL)
    def smoothed(name, method, **options):
        return measured(trained(replace(TL, name=name, steps=0, method=method, networks=(f'runs/{network.name}',), method_options=options)))
    plain = measured(network)
    for same in (smoothed('one pixel', 'average', size=1), smoothed('no past', 'smooth', weight=0)):
        assert all(same[name] == plain[name] or same[name] != same[name] for name in ('miou', 'tc', 'pixel_accuracy'))
    along, over = smoothed('along', 'smooth', weight=.8), smoothed('over', 'average', size=13)
    assert max(along['flicker'], over['flicker']) < plain['flicker'], 'smoothing makes consistent, whatever it costs'
    with pytest.raises(ValueError, match="keyframe method 'average' has no option 'weight'. Known: size"):
        smoothed('bad', 'average', weight=.5)
    with pytest.raises(ValueError, match='size is 4, must be odd'): smoothed('even', 'average', size=4)
    assert not list(root.glob('runs/bad-*')) and not list(root.glob('runs/even-*')), 'and nothing is made'
