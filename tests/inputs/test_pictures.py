"Pictures, labels and folders as people have them: read as a viewer shows them, listed in their order, or refused in a line."
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image, ImageOps

from vidseg.data.clips import ClipFolder, write_clip, write_dataset_info
from vidseg.data.folders import import_folder
from vidseg.data.images import image_files, image_size, natural, read_image, write_image
from vidseg.data.timing import Clock, at_rate, spans
from vidseg.data.video import video_frames
from vidseg.training.evaluation import evaluate
from vidseg.use.commands import main


def photo(height=40, width=60): return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip_folder(folder, frames=4):
    "A clip with a label of each frame."
    ids = np.zeros((40, 60), np.uint8)
    ids[20:] = 1
    write_dataset_info(folder, name='x', classes=['a', 'b'], colors=[[0, 0, 0], [255, 0, 0]])
    write_clip(folder/'train'/'c', [photo()]*frames, labels={n: ids for n in range(frames)})
    return folder/'train'/'c'


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('turn', range(1, 9))
def test_exif(turn, kind, tmp_path):
    "A frame and its label are turned alike, and have the size that is seen."
    exif = Image.Exif()
    exif[0x0112] = turn
    file = tmp_path/f'a.{kind}'
    Image.fromarray(photo()).save(file, exif=exif.tobytes())
    right = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert('RGB')).astype(int)
    assert np.abs(read_image(file) - right).max() <= 2 and image_size(file) == right.shape[:2]
    if kind == 'png':
        ids = (photo()[..., 0] % 3).astype(np.uint8)
        Image.fromarray(ids).save(file, exif=exif.tobytes())
        assert (read_image(file, color=False) == np.asarray(ImageOps.exif_transpose(Image.open(file)))).all()


@settings(max_examples=40, deadline=None)
@given(some.data())
def test_cut_pictures_are_refused(tmp_path_factory, data):
    "Wherever a PNG or a JPEG is cut, it is refused; whatever follows its end is tolerated."
    kind, tail = data.draw(some.sampled_from(['png', 'jpg'])), data.draw(some.binary(max_size=200))
    file = tmp_path_factory.mktemp('a')/f'a.{kind}'
    write_image(file, photo())
    content, whole = file.read_bytes(), read_image(file)
    file.write_bytes(content + tail)
    assert (read_image(file) == whole).all()
    file.write_bytes(content[:data.draw(some.integers(0, len(content) - 13))])
    with pytest.raises(ValueError, match=file.name): read_image(file)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.integers(0, 10**6), min_size=1, max_size=30, unique=True), some.sampled_from(['', 'frame', 'a_1_', 'IMG-']),
       some.integers(0, 8))
def test_natural_order(numbers, prefix, zeros):
    names = [f'{prefix}{n:0{zeros}}' for n in numbers]
    assert sorted(names, key=natural) == [f'{prefix}{n:0{zeros}}' for n in sorted(numbers)]


@settings(max_examples=60, deadline=None)
@given(some.lists(some.floats(.005, 2), min_size=1, max_size=40), some.floats(2, 60))
def test_any_rate_keeps_the_time(steps, fps):
    "However uneven the frames are, sampling keeps the total time, and shows what was on the screen."
    times = [0, *np.cumsum(steps[:-1])]
    shown = list(spans(((time, steps[-1], n) for n, time in enumerate(times)), .04))
    sampled = list(at_rate(shown, fps))
    assert abs(len(sampled)/fps - sum(steps)) <= 1/fps + 2e-3
    for start, _, n in sampled: assert times[n] <= start + 3e-3 and (n + 1 == len(times) or start < times[n + 1] + 1e-9)
    clock = Clock(.04)
    assert np.allclose([clock(7.5 + time) for time in times], times)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_few_bits(bits, tmp_path):
    "Class 1 stays class 1."
    clip = clip_folder(tmp_path)
    ids = ClipFolder(tmp_path).clips('train')[0].label(0)
    file = clip/'labels'/'000000.png'
    if bits == 1: Image.fromarray(ids.astype(bool)).save(file)
    else:
        indexed = Image.fromarray(ids, 'P')
        indexed.putpalette([0, 0, 0, 255, 0, 0])
        indexed.save(file, bits=bits)
    assert (ClipFolder(tmp_path).clips('train')[0].label(0) == ids).all() and ClipFolder(tmp_path).validate()['train']['labels'] == 4


def test_litter(tmp_path):
    clip = clip_folder(tmp_path)
    for name in ('.DS_Store', 'Thumbs.db', '._000000.png', 'desktop.ini'):
        for place in (clip/'labels', clip/'frames', clip, clip.parent, tmp_path): (place/name).write_bytes(b'x')
    (tmp_path/'__MACOSX').mkdir()
    assert ClipFolder(tmp_path).validate() == {'train': dict(clips=1, frames=4, labels=4)}
    assert len(image_files(clip/'frames')) == len(list(video_frames(clip/'frames'))) == 4


FAULTS = {
    'label without frame': (lambda clip: (clip/'frames'/'000003.png').unlink(), 'labels a frame that is not there'),
    'two files': (lambda clip: write_image(clip/'frames'/'000003.jpg', photo()), 'two files for one frame'),
    'neighbour missing': (lambda clip: [(clip/kind/'000002.png').unlink() for kind in ('frames', 'labels')], '000002 is missing'),
    'all ignored': (lambda clip: [write_image(file, np.full((40, 60), 255, np.uint8)) for file in (clip/'labels').iterdir()], 'is ignored'),
    'label of another size': (lambda clip: write_image(clip/'labels'/'000001.png', np.zeros((40, 59), np.uint8)), '000001.png is 40×59'),
    'unknown id': (lambda clip: write_image(clip/'labels'/'000001.png', np.full((40, 60), 9, np.uint8)), 'holds the value 9'),
    'coloured label': (lambda clip: write_image(clip/'labels'/'000001.png', photo()), 'has 3 channels'),
    'cut frame': (lambda clip: (clip/'frames'/'000001.png').write_bytes(b'\x89PNG'), '000001.png is not a readable picture'),
    'another dataset.json': (lambda clip: (clip.parents[1]/'dataset.json').write_text(json.dumps({'categories': []})), 'lacks the entry'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_faults(fault, tmp_path):
    change, says = FAULTS[fault]
    clip = clip_folder(tmp_path)
    change(clip)
    with pytest.raises(ValueError, match=says) as error: ClipFolder(tmp_path).validate()
    assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)


def test_import_and_train(tmp_path, monkeypatch, capsys):
    "The way of the README: a folder of pictures and labels, imported, trained on, evaluated."
    root = tmp_path/'root'
    (tmp_path/'my photos'/'images').mkdir(parents=True)
    (tmp_path/'my photos'/'masks').mkdir()
    rng = np.random.default_rng(0)
    for t in range(10):
        label = np.zeros((64, 96), np.uint8)
        label[20:50, 5*t:5*t + 30] = 1
        write_image(tmp_path/'my photos'/'images'/f'{t}.jpg', (120*label[..., None] + rng.integers(0, 60, (64, 96, 3))).astype(np.uint8))
        write_image(tmp_path/'my photos'/'masks'/f'{t}.png', 255*label)
    from vidseg.workspace import root as checkout
    for name in ('nbs', 'settings.ini'):
        root.mkdir(exist_ok=True)
        (root/name).symlink_to(checkout()/name)
    monkeypatch.setenv('VIDSEG_ROOT', str(root))
    main(['import', str(tmp_path/'my photos'), str(tmp_path/'mine')])
    assert '2 classes (background, foreground)' in (said := capsys.readouterr().out) and '8 frames, 8 labels' in said
    main(['train', '--profile', 'smoke', '--data', str(tmp_path/'mine'), '--scheme', 'TL', 'steps=2'])
    run, = (root/'runs').glob('TL-*')
    metrics = evaluate(run)
    assert 0 <= metrics['miou'] <= 100 and 0 <= metrics['tc'] <= 100
    with pytest.raises(FileExistsError): import_folder(tmp_path/'my photos', tmp_path/'mine')
