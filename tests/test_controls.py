"What the temporal loss is compared with, from a recipe to numbers: terms of weight 0, no motion, no mask, copies; and smoothing."
import os
from dataclasses import replace

import pytest
import torch

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


def test_controls_differ_only_in_what_they_say(root):
    "All begin with the same loss on labels; those that learn from the temporal loss end elsewhere, each at a place of its own."
    runs = {name: trained(replace(TL, name=name, **changes)) for name, changes in dict(TL={}, **CONTROLS).items()}
    logs = {name: run.log() for name, run in runs.items()}
    one_neighbour = [name for name in runs if name not in ('far', 'copies')]       # these two show the network other frames
    assert len({logs[name][0]['cross_entropy'] for name in one_neighbour}) == 1
    assert len({logs[name][0]['temporal'] for name in runs if name != 'weight_0'}) == len(runs) - 1
    first = logs['weight_0'][0]
    assert first['temporal'] == logs['TL'][0]['temporal'] and first['total'] == first['cross_entropy']
    assert logs['unweighted'][0]['temporal'] > logs['TL'][0]['temporal']
    weights = {name: torch.cat([x.flatten() for x in run.state_dict().values() if x.is_floating_point()]) for name, run in runs.items()}
    assert all(not torch.equal(weights[a], weights[b]) for a in weights for b in weights if a < b)
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
    assert along['tc'] > plain['tc'] and over['tc'] > plain['tc'], 'smoothing makes consistent, whatever it costs'
    with pytest.raises(ValueError, match="keyframe method 'average' has no option 'weight'. Known: size"):
        smoothed('bad', 'average', weight=.5)
    with pytest.raises(ValueError, match='size is 4, must be odd'): smoothed('even', 'average', size=4)
    assert not list(root.glob('runs/bad-*')) and not list(root.glob('runs/even-*')), 'and nothing is made'
