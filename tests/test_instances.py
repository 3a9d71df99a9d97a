"Instances of one's own, from a JSON file to a video with the numbers of tracks, by the commands that the README shows."
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from torch import nn

from vidseg.data.clips import ClipFolder
from vidseg.data.images import read_image, write_image
from vidseg.data.mask_codes import decode_mask, run_lengths
from vidseg.data.tracks import annotated, seen
from vidseg.data.video import write_video
from vidseg.data.worlds import ActorWorld, write_world
from vidseg.networks.models import create_model
from vidseg.networks.solo import Instances
from vidseg.training.experiments import Experiment
from vidseg.training.pipeline import prepare_and_train, pseudo_label
from vidseg.training.pseudo import write_pseudo_labels
from vidseg.training.recipe import Recipe
from vidseg.training.runs import Run
from vidseg.training.training import Training, train
from vidseg.use.commands import main
from vidseg.use.export import export_onnx, load_segmenter
from vidseg.use.predict import InstanceSegmenter, segment
from vidseg.workspace import root

KINDS = 'person', 'ball', 'car'


@pytest.fixture
def place(tmp_path, monkeypatch):
    "A root of its own, with the experiments of this checkout."
    (tmp_path/'nbs').symlink_to(root()/'nbs')
    scripts = root()/'data_scripts'
    monkeypatch.setenv('VIDSEG_ROOT', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return scripts


def annotated_pictures(folder, clips=4, length=6):
    "Frames of actors, with a COCO-style file of three classes."
    images, annotations = [], []
    for seed in range(clips):
        play = ActorWorld(seed, size=(64, 96), length=length, kinds=KINDS)
        for t in range(length):
            name = f'clip{seed}/{t:05}.jpg'
            (folder/f'clip{seed}').mkdir(parents=True, exist_ok=True)
            write_image(folder/name, play.render(t))
            images.append(dict(id=len(images) + 1, file_name=name, width=96, height=64, video_id=seed + 1, frame_id=t))
            for track, kind in play.tracks.items():
                mask = play.instances(t) == track
                if not mask.any(): continue
                annotations.append(dict(id=len(annotations) + 1, image_id=len(images), category_id=KINDS.index(kind) + 1, iscrowd=0,
                                        track_id=100*seed + track, segmentation=run_lengths(mask)))
    categories = [dict(id=n, name=kind) for n, kind in enumerate(KINDS, 1)]
    (folder/'mine.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def check_refusals(run):
    "What cannot be, with a run of instances: each in a line."
    refused = {
        ('segment', 'in.mp4', 'x.mp4', '--run', run, '--smooth', '.5'): 'are not smoothed',
        ('segment', 'in.mp4', 'x.json', '--run', 'nbs/explore/checkpoints/baseline'): 'only instances are written as JSON',
        ('adapt', 'in.mp4', 'x.onnx', '--run', run): 'finds instances',
        ('train', '--data', 'data/mine', '--scheme', 'TL', '--profile', 'smoke'): "'temporal'",
    }
    for command, why in refused.items():
        with pytest.raises(SystemExit) as error: main([str(word) for word in command])
        assert why in str(error.value) and '\n' not in str(error.value), (command, str(error.value))


def test_own_instances(place, tmp_path, capsys):
    annotated_pictures(tmp_path/'pictures')
    command = [sys.executable, place/'youtubevis.py', 'pictures/mine.json', 'data/mine', '--holdout', '2']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    main(['train', '--data', 'data/mine', '--scheme', 'SOLOv2_video', '--profile', 'smoke'])
    [run] = (tmp_path/'runs').iterdir()
    assert Run(run).classes == ['background', *KINDS] and Run(run).recipe.terms == dict(solo=1., mask_temporal=1.)
    capsys.readouterr()
    main(['evaluate', '--run', run.name])
    said = capsys.readouterr().out
    assert all(f'{name}, %' in said for name in ('AP', 'AP50', 'AR10', 'AP of frames', 'HOTA')), said
    write_video(tmp_path/'in.mp4', [ActorWorld(9, size=(64, 96), length=5).render(t) for t in range(5)], fps=15)
    for target in ('ids', 'out.mp4', 'results.json'): main(['segment', 'in.mp4', target, '--run', run.name])
    assert 'real time' in capsys.readouterr().out
    assert len(list((tmp_path/'ids').iterdir())) == 5 and (tmp_path/'out.mp4').stat().st_size
    assert json.loads((tmp_path/'results.json').read_text()) == [], 'after four steps nothing is sure enough'
    check_refusals(run.name)


LEARNED = {  # network → by what
    'solov2_mini': {'solo': 1., 'mask_temporal': .1},
    'mask_track_mini': {'mask_rcnn': 1., 'box_track': 1.}, # draws its samples by chance
}


@pytest.mark.parametrize('model', LEARNED)
def test_the_same_weights_again_and_after_an_interruption(model, place, monkeypatch):
    write_world('data/play', 'train', clips=3, world='actors', length=6, size=(64, 96))
    how = dict(data='data/play', model=model, encoder_weights=None, batch_size=4, task='instances', optimizer='adamw', lr=.001,
               terms=LEARNED[model], steps=5)
    def weights(run): return Run(run).state_dict()
    def same(a, b): return all(torch.equal(a[name], b[name]) for name in a)
    once = weights(train(Recipe('once', **how), progress=False))
    recipe = Recipe('twice', **how)
    class Cut(Exception): pass
    run, calls = Run.of(recipe), []
    learn = Training.learn
    def learn_until(self, total):
        if len(calls) == 3: raise Cut
        calls.append(1)
        learn(self, total)
    monkeypatch.setattr(Training, 'learn', learn_until)
    with pytest.raises(Cut): train(recipe, checkpoint_every=2, progress=False)
    monkeypatch.setattr(Training, 'learn', learn)
    assert len(run.checkpoints()) == 1
    assert same(once, weights(train(recipe, checkpoint_every=2, progress=False)))
    if model != 'solov2_mini': return
    trunk = Recipe('branch', **how | dict(start=f'runs/{run.folder.name}', new_layers=['classes']))
    changed = weights(train(trunk, progress=False))
    assert not same(once, changed) and torch.equal(once['_extra_state'], changed['_extra_state']), 'the grids of the trunk'


def test_a_network_learns_from_pseudo_labels(place):
    "A teacher's tracks of an unlabelled split are trained on beside the labels: the same weights again, other ones than without them."
    torch.manual_seed(1)
    network = create_model('solov2_mini', len(ActorWorld.classes) - 1)
    nn.init.normal_(network.classes.weight, std=.3)                      # sure of many things
    torch.save(network.state_dict(), 'sure.pth')
    for split in ('train', 'train_extra'): write_world('data/play', split, clips=2, world='actors', length=6, size=(64, 96))
    how = dict(data='data/play', model='solov2_mini', encoder_weights=None, batch_size=4, task='instances', optimizer='adamw', lr=.001)
    teacher = Run(train(Recipe('teacher', steps=0, start='sure.pth', terms={'solo': 1.}, **how), progress=False))
    unlabelled = ClipFolder('data/play').clips('train_extra')
    for clip in unlabelled: shutil.rmtree(clip.path/'instances')         # nobody knows what is in it
    made = dict(scales=(1., 1.25), threshold=.25, progress=False, teacher=teacher.name, weights=teacher.digest)
    folder = ClipFolder(write_pseudo_labels(teacher.model(), unlabelled, 'data/pseudo', **made))
    print(folder.info['quality'])
    assert folder.info['quality']['tracks'] == sum(len(clip.tracks) for clip in folder.clips('pseudo')) > 1
    assert any(len(seen(clip, i).ids) for clip in folder.clips('pseudo') for i in annotated(clip)) and 'ap' not in folder.info['quality']
    how |= dict(terms={'solo': 1., 'mask_temporal': .1}, steps=3, teacher=f'runs/{teacher.name}')
    with_them = dict(pseudo='data/pseudo', pseudo_share=.5)
    def weights(name, **more): return Run(train(Recipe(name, **how | more), progress=False)).state_dict()
    once, twice, without = weights('once', **with_them), weights('twice', **with_them), weights('without')
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert not all(torch.equal(once[name], without[name]) for name in once)
    with pytest.raises(ValueError, match='were made by'): weights('other', **with_them | dict(teacher='runs/another'))


def test_a_scheme_with_pseudo_labels(place):
    "A profile that says how: the scheme PL makes its teacher and that one's tracks of unlabelled clips, and learns from both."
    torch.manual_seed(1)
    network = create_model('solov2_mini', len(ActorWorld.classes) - 1)
    nn.init.normal_(network.classes.weight, std=.3)                      # sure of many things
    torch.save(network.state_dict(), 'sure.pth')
    said = yaml.safe_load((root()/'nbs'/'experiments'/'experiments.yaml').read_text())
    smoke = said['data_sets']['actors']['profiles']['smoke']
    smoke['splits']['train_extra'] = dict(clips=2)
    smoke['networks']['teacher'] = dict(start='sure.pth', steps=0)
    smoke |= dict(distill_from='teacher', pseudo=dict(split='train_extra', scales=[1.], flip=True, threshold=.25, share=.5))
    Path('mine.yaml').write_text(yaml.safe_dump(said))
    experiment = Experiment('smoke', 'actors', file=Path('mine.yaml'))
    with pytest.raises(ValueError, match='AP .* against .*, AP of frames .* against'):
        prepare_and_train(experiment, 'PL', 0, progress=False)
    experiment.settings['teacher_must_be_better'] = False
    run = Run(prepare_and_train(experiment, 'PL', 0, progress=False))
    made = ClipFolder(root()/run.recipe.pseudo).info
    print(made['quality'])
    assert run.recipe.task == 'instances' and run.recipe.pseudo_share == .5
    assert made['quality']['tracks'] > 1 and 'ap' in made['quality']
    assert made['pseudo_labels']['weights'] == Run(root()/run.recipe.teacher).digest
    assert pseudo_label(experiment, 0) == root()/run.recipe.pseudo, 'it is there'


def test_a_file_is_used_as_a_run(place):
    "`vidseg segment` finds the same tracks with an ONNX file as with the run, on frames whose sides do not divide by 32."
    torch.manual_seed(1)
    network = create_model('solov2_mini_track', len(ActorWorld.classes) - 1)
    nn.init.normal_(network.classes.weight, std=.3)                      # sure of many things
    nn.init.normal_(network.kernel.weight, std=1.)                       # and of most pixels
    torch.save(network.state_dict(), 'sure.pth')
    write_world('data/play', 'train', clips=1, world='actors', length=3, size=(64, 96))
    how = dict(model='solov2_mini_track', start='sure.pth', encoder_weights=None, task='instances', terms={'solo': 1.})
    recipe = Recipe('sure', 'data/play', steps=0, **how)
    run = Run(train(recipe, progress=False))
    assert type(load_segmenter(run.folder)) is type(load_segmenter(export_onnx(load_segmenter(run.folder), 'sure.onnx')))
    write_video('in.mp4', [ActorWorld(9, size=(72, 104), length=5).render(t) for t in range(5)], fps=15)
    results = []
    for source in (run.name, 'sure.onnx'):
        for target in ('.json', '.mp4', '-ids'): main(['segment', 'in.mp4', f'{Path(source).stem}{target}', '--run', source])
        results.append(json.loads(Path(f'{Path(source).stem}.json').read_text()))
    check_same_results(*results)
    shown = [[read_image(path, color=False) for path in sorted(Path(f'{stem}-ids').iterdir())] for stem in (run.name, 'sure')]
    assert len(shown[0]) == 5 and np.mean(np.stack(shown[0]) == np.stack(shown[1])) > .999
    with pytest.raises(SystemExit, match='are not smoothed'): main(['segment', 'in.mp4', 'x.mp4', '--run', 'sure.onnx', '--smooth', '.5'])


def check_same_results(a, b):
    "YouTube-VIS results of two, track by track."
    apart, pixels = [], []
    assert len(a) == len(b) > 5
    for one, other in zip(a, b):
        assert one['category_id'] == other['category_id']
        apart.append(abs(one['score'] - other['score']))
        for x, y in zip(one['segmentations'], other['segmentations']):
            assert (x is None) == (y is None)
            if x is None: continue
            x, y = decode_mask(x, x['size']), decode_mask(y, y['size'])
            assert (x ^ y).sum() <= .01*x.sum()
            pixels.append(int((x ^ y).sum()))
    assert np.quantile(apart, .8) < 1e-4 and max(apart) < .02, 'a pixel that is one half may move a score by its share'
    print(f'{len(a)} tracks, {len(pixels)} masks: scores apart by {max(apart):.0e}, masks by {max(pixels)} pixels at most')


class Crowded(nn.Module):
    "Sees twenty things in every frame, each a little farther to the right."
    def __init__(self):
        super().__init__()
        self.t = 0

    def instances(self, images):
        found = []
        for _ in images:
            masks = torch.zeros(20, *images.shape[2:], dtype=torch.bool)
            for n in range(20): masks[n, 4*(n % 10):4*(n % 10) + 3, (self.t//4 + 40*(n//10)) % 60:][:, :8] = True
            found.append(Instances(masks, torch.arange(20) % 3, torch.linspace(.9, .5, 20)))
            self.t += 1
        return found


def test_a_thousand_frames_in_flat_memory(tmp_path):
    picture = np.full((40, 96, 3), 90, np.uint8)
    write_video(tmp_path/'long.mp4', (picture for _ in range(1000)), fps=25)
    finder = InstanceSegmenter(Crowded(), KINDS)
    process, held = psutil.Process(), []
    stream = finder.stream
    def watched(*how):
        for n, found in enumerate(stream(*how)):
            if n % 100 == 99: held.append(process.memory_info().rss/2**20)
            yield found
    finder.stream = watched
    done = segment(finder, tmp_path/'long.mp4', tmp_path/'overlay.mp4', progress=False)
    print(f"{done['real_time']:.1f}× real time; MB after every 100 frames: {[round(mb) for mb in held]}")
    assert done['frames'] == 1000 and len(finder.tracks) >= 10
    assert held[-1] - held[1] < 40, 'nothing is kept of what is past'


def test_numbers_of_tracks_are_written_whole(tmp_path):
    finder = InstanceSegmenter(Crowded(), KINDS)
    picture = np.full((40, 96, 3), 90, np.uint8)
    write_video(tmp_path/'short.mp4', (picture for _ in range(4)), fps=25)
    segment(finder, tmp_path/'short.mp4', tmp_path/'ids', progress=False)
    ids = read_image(tmp_path/'ids'/'000003.png', color=False)
    assert ids.dtype == np.uint16 and set(np.unique(ids)) - {0} == set(finder.tracks)
