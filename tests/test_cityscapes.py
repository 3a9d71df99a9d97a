"data_scripts/cityscapes.py on a small tree in the official layout: what becomes of it, and one clear line for what is missing or broken."
import importlib.util
import json
import os
import shutil

import numpy as np
import pytest

from vidseg.data.clips import ClipFolder
from vidseg.data.images import read_image, write_image
from vidseg.workspace import root

spec = importlib.util.spec_from_file_location('cityscapes', root()/'data_scripts'/'cityscapes.py')
cityscapes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cityscapes)

HEIGHT, WIDTH = 8, 12
NAMES = {   # labelled frames; a long sequence has numbers of its own, and city names may have a hyphen
    'train': ['aachen_000000_000019', 'aachen_000001_000019', 'hamburg_000000_000042', 'hamburg_000000_000078'],
    'val': ['frankfurt_000000_000294', 'frankfurt_000001_054219', 'lindau_000003_000019'],
    'test': ['berlin_000000_000019'],
    'train_extra': ['bad-honnef_000000_000000', 'bad-honnef_000000_000001', 'troisdorf_000000_000073', 'troisdorf_000000_000074']}
COUNTS = {'train': dict(aachen=2, hamburg=2), 'val': dict(frankfurt=2, lindau=1), 'test': dict(berlin=1),
          'train_extra': {'bad-honnef': 2, 'troisdorf': 1}}
EXPECTED = {'train': dict(clips=4, frames=120, labels=4), 'val': dict(clips=3, frames=90, labels=3),
            'val_tc': dict(clips=3, frames=90, labels=3), 'test': dict(clips=1, frames=30, labels=0)}
TRAIN_IDS = {   # the table of the official scripts: label id → train id; all others are 255
    7: (0, 'road'), 8: (1, 'sidewalk'), 11: (2, 'building'), 12: (3, 'wall'), 13: (4, 'fence'), 17: (5, 'pole'), 19: (6, 'traffic light'),
    20: (7, 'traffic sign'), 21: (8, 'vegetation'), 22: (9, 'terrain'), 23: (10, 'sky'), 24: (11, 'person'), 25: (12, 'rider'),
    26: (13, 'car'), 27: (14, 'truck'), 28: (15, 'bus'), 31: (16, 'train'), 32: (17, 'motorcycle'), 33: (18, 'bicycle')}


def path(source, tree, split, name, ending):
    "A file of the official layout; its folder is made."
    file = source/tree/split/name.split('_')[0]/f'{name}_{ending}'
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def label_ids(name):
    "Every id once, -1 (as 255 in a picture) too."
    ids = np.resize(np.r_[0:34, 255], HEIGHT*WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    return np.roll(ids, sum(map(ord, name)), 1)


def annotate(source, tree, split, name, ids):
    "The four files of an annotation."
    write_image(path(source, tree, split, name, f'{tree}_labelIds.png'), ids)
    write_image(path(source, tree, split, name, f'{tree}_instanceIds.png'), ids.astype(np.uint16)*1000)
    write_image(path(source, tree, split, name, f'{tree}_color.png'), np.repeat(ids[..., None], 3, 2))
    path(source, tree, split, name, f'{tree}_polygons.json').write_text(json.dumps(dict(imgHeight=HEIGHT, imgWidth=WIDTH, objects=[])))


@pytest.fixture(scope='session')
def official(tmp_path_factory):
    "A small Cityscapes: the trees of four packages, without train_extra."
    source, rng = tmp_path_factory.mktemp('official')/'Cityscapes', np.random.default_rng(0)
    for split in ('train', 'val', 'test'):
        for name in NAMES[split]:
            city, sequence, number = name.split('_')
            for n in range(int(number) - 19, int(number) + 11):
                file = path(source, 'leftImg8bit_sequence', split, f'{city}_{sequence}_{n:06d}', 'leftImg8bit.png')
                write_image(file, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
                if n == int(number): shutil.copy(file, path(source, 'leftImg8bit', split, name, 'leftImg8bit.png'))
            annotate(source, 'gtFine', split, name, label_ids(name)*(split != 'test'))   # dummies for test
            if split != 'test': annotate(source, 'gtCoarse', split, name, label_ids(name))
    (source/'leftImg8bit'/'train'/'aachen'/'._aachen_000000_000019_leftImg8bit.png').touch()   # what some systems leave behind
    (source/'README').touch()
    return source


@pytest.fixture
def source(official, tmp_path):
    "A copy to break."
    return shutil.copytree(official, tmp_path/'Cityscapes')


def add_extra(source):
    "The package leftImg8bit_trainextra and its coarse labels."
    for i, name in enumerate(NAMES['train_extra']):
        write_image(path(source, 'leftImg8bit', 'train_extra', name, 'leftImg8bit.png'), np.full((HEIGHT, WIDTH, 3), i, np.uint8))
        annotate(source, 'gtCoarse', 'train_extra', name, label_ids(name))


def convert(source, target=None, **options):
    return cityscapes.convert(source, target or source.parent/'clips', counts=COUNTS, **options)


def refused(source, kind=ValueError, **options):
    "The line with which `source` is refused; no split may be there, not even half."
    with pytest.raises(kind) as caught: convert(source, **options)
    target = source.parent/'clips'
    assert '\n' not in str(caught.value) and not list(target.glob('*/')), 'half-written'
    return str(caught.value)


def same_file(a, b): return os.stat(a).st_ino == os.stat(b).st_ino


def frame_of(source, split, name, number):
    city, sequence, _ = name.split('_')
    return path(source, 'leftImg8bit_sequence', split, f'{city}_{sequence}_{number:06d}', 'leftImg8bit.png')


def test_published_counts():
    assert [sum(cityscapes.COUNTS[split].values()) for split in ('train', 'val', 'test', 'train_extra')] == [2975, 500, 1525, 19998 - 1]


def test_snippets(official, tmp_path):
    folder = convert(official, tmp_path/'clips')
    assert folder.validate() == EXPECTED and ClipFolder(tmp_path/'clips').info['missing'] == []
    assert folder.classes == [name for _, name in TRAIN_IDS.values()] and folder.colors[13].tolist() == [0, 0, 142] and folder.fps == 17


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_clips(official, tmp_path, split):
    clips = convert(official, tmp_path/'clips').clips(split)
    assert [clip.name for clip in clips] == NAMES[split] and {clip.fps for clip in clips} == {17}
    for clip in clips:
        number = int(clip.name[-6:])
        assert clip.frames == [f'{i:06d}' for i in range(30)] and clip.labelled == ([] if split == 'test' else [19])
        assert (clip.frame(19) == read_image(path(official, 'leftImg8bit', split, clip.name, 'leftImg8bit.png'))).all()
        for i in (0, 19, 29):
            assert same_file(clip.files[i], frame_of(official, split, clip.name, number - 19 + i)), 'linked, not copied'


def test_labels_against_a_slow_loop(official, tmp_path):
    for clip in convert(official, tmp_path/'clips').clips('val'):
        ids, label = read_image(path(official, 'gtFine', 'val', clip.name, 'gtFine_labelIds.png'), color=False), clip.label(19)
        for y in range(HEIGHT):
            for x in range(WIDTH): assert label[y, x] == TRAIN_IDS.get(int(ids[y, x]), (255,))[0]
        assert set(label.ravel()) == {*range(19), 255}


def test_size(official, tmp_path):
    clip = convert(official, tmp_path/'clips', size=(4, 6), splits=['val']).clips('val')[0]
    mean = read_image(frame_of(official, 'val', clip.name, 294)).astype(float).reshape(4, 2, 6, 2, 3).mean((1, 3))
    assert clip.size == (4, 6) and np.abs(clip.frame(19) - mean).max() <= 1, 'each pixel is the mean of four'
    blocks = cityscapes.TRAIN_IDS[label_ids(clip.name)].reshape(4, 2, 6, 2)
    assert (blocks == clip.label(19)[:, None, :, None]).any((1, 3)).all(), 'each label is one of four'


@pytest.mark.parametrize('refusing', [('link',), ('link', 'symlink')], ids=['symbolic links', 'copies'])
def test_where_links_are_refused(official, tmp_path, monkeypatch, refusing):
    def refuse(*_): raise OSError('not on this disk')
    for name in refusing: monkeypatch.setattr(cityscapes.os, name, refuse)
    folder = convert(official, tmp_path/'clips', splits=['val'])
    file = folder.clips('val_tc')[0].files[0]
    assert folder.validate()['val_tc'] == EXPECTED['val_tc'] and file.is_symlink() == ('symlink' not in refusing)
    assert same_file(file, frame_of(official, 'val', NAMES['val'][0], 275)) == ('symlink' not in refusing)


def test_train_extra(source):
    add_extra(source)
    folder = convert(source)
    assert folder.validate() == EXPECTED | {'train_extra': dict(clips=3, frames=3, labels=0)}
    clips = folder.clips('train_extra')
    assert [clip.name for clip in clips] == [name for name in NAMES['train_extra'] if name != 'troisdorf_000000_000073'], 'the black one'
    assert folder.info['splits']['train_extra']['video'] is False
    assert same_file(clips[1].files[0], path(source, 'leftImg8bit', 'train_extra', clips[1].name, 'leftImg8bit.png'))


def test_coarse_labels(source):
    add_extra(source)
    clips = convert(source, splits=['train_extra'], coarse=True).clips('train_extra')
    assert all((clip.label(0) == cityscapes.TRAIN_IDS[label_ids(clip.name)]).all() for clip in clips)
    with pytest.raises(ValueError, match="with the options '--coarse', not ''"): convert(source, splits=['train_extra'])


def test_images_only(source):
    shutil.rmtree(source/'leftImg8bit_sequence')
    message = refused(source, FileNotFoundError)
    assert 'leftImg8bit_sequence_trainvaltest.zip' in message and '--images-only' in message
    folder = convert(source, images_only=True)
    assert folder.validate() == {split: EXPECTED[split] | dict(frames=EXPECTED[split]['clips']) for split in ('train', 'val', 'test')}
    assert folder.clips('val')[0].frames == ['000019'] and folder.info['splits']['val']['video'] is False
    assert not (folder.path/'tc_snippets.txt').exists()


def test_wrong_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='is not the Cityscapes folder: it has none of leftImg8bit_sequence, leftImg8bit, gtFine'):
        convert(tmp_path)


def test_published_counts_are_asked_for(official, tmp_path, capsys):
    with pytest.raises(ValueError, match='is not complete: train/aachen: 2 labelled images are named, 174 are published.*--partial'):
        cityscapes.convert(official, tmp_path/'clips')
    listed = capsys.readouterr().err
    assert 'train/zurich: 0 labelled images are named, 122 are published' in listed and 'val/munster' in listed and 'test/mainz' in listed
    assert not (tmp_path/'clips').exists()
    folder = cityscapes.convert(official, tmp_path/'clips', partial=True)
    assert folder.validate() == EXPECTED
    assert 'val/lindau: 1 labelled images are named, 59 are published' in folder.info['splits']['val']['missing']
    assert any('train/ulm' in line for line in folder.info['missing'])


def test_missing_frames(source, capsys):
    for number in (24, 27): frame_of(source, 'train', 'hamburg_000000_000042', number).unlink()
    message = refused(source)
    assert 'train/hamburg: 1 of 2 lack frames' in message
    assert 'hamburg_000000_000042 (without hamburg_000000_000024, hamburg_000000_000027)' in message
    folder = convert(source, partial=True)
    assert [clip.name for clip in folder.clips('train')] == [name for name in NAMES['train'] if name != 'hamburg_000000_000042']
    assert folder.validate()['val'] == EXPECTED['val'] and len(folder.info['missing']) == 1
    shutil.copy(frame_of(source, 'train', 'hamburg_000000_000042', 25), frame_of(source, 'train', 'hamburg_000000_000042', 24))
    assert len(convert(source).info['missing']) == 1, 'a split made from a part stays known as such'


def test_missing_label_and_superfluous_image(source, capsys):
    path(source, 'gtFine', 'val', 'lindau_000003_000019', 'gtFine_labelIds.png').unlink()
    path(source, 'leftImg8bit', 'train', 'aachen_000000_000020', 'leftImg8bit.png').touch()
    assert '2 more, listed above' in refused(source)
    listed = capsys.readouterr().err
    assert 'val/lindau: 1 of 1 lack their label in gtFine: lindau_000003_000019' in listed
    assert 'train/aachen: 3 labelled images are named, 2 are published' in listed and 'without aachen_000000_000030' in listed


def test_packages_that_are_not_there(source, capsys):
    shutil.rmtree(source/'leftImg8bit')
    assert convert(source, source.parent/'without').validate() == EXPECTED, 'gtFine names the frames as well'
    shutil.rmtree(source/'leftImg8bit_sequence'/'test')
    assert 'leftImg8bit_sequence/test is absent or empty (leftImg8bit_sequence_trainvaltest.zip)' in refused(source)
    assert set(convert(source, source.parent/'chosen', splits=['train', 'val']).splits) == {'train', 'val', 'val_tc'}
    shutil.rmtree(source/'gtFine'/'train')
    refused(source, splits=['train'])
    assert 'gtFine/train is absent or empty (gtFine_trainvaltest.zip)' in capsys.readouterr().err
    folder = convert(source, partial=True)
    assert folder.validate()['train'] == dict(clips=4, frames=120, labels=0) and folder.splits == ['train', 'val', 'val_tc']
    assert len(folder.info['missing']) == 2
    with pytest.raises(ValueError, match='leftImg8bit/train_extra is absent or empty .leftImg8bit_trainextra.zip'):
        convert(source, splits=['train_extra'])


@pytest.mark.parametrize('value', [34, 254])
def test_unknown_label_id(source, value):
    ids = label_ids('')
    ids[2, 3] = value
    write_image(path(source, 'gtFine', 'val', 'lindau_000003_000019', 'gtFine_labelIds.png'), ids)
    message = refused(source, splits=['val'])
    assert f'lindau_000003_000019_gtFine_labelIds.png holds the value {value}' in message


def test_label_of_another_size(source):
    write_image(path(source, 'gtFine', 'val', 'lindau_000003_000019', 'gtFine_labelIds.png'), label_ids('')[:, 1:])
    assert f'{HEIGHT}×{WIDTH - 1}, its frame is {HEIGHT}×{WIDTH}' in refused(source, splits=['val'])


@pytest.mark.parametrize('size', [None, (4, 6)])
def test_broken_frame(source, size):
    file = frame_of(source, 'val', 'lindau_000003_000019', 5)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert 'lindau_000003_000005_leftImg8bit.png' in refused(source, splits=['val'], size=size)
    write_image(file, np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    assert 'lindau_000003_000005_leftImg8bit.png is 8×13, the first frame' in refused(source, splits=['val'], size=size)


def test_interrupted(source, monkeypatch):
    started, write, limit = [], cityscapes.write_snippet, 6
    def write_until_the_limit(snippet, *rest):
        started.append(snippet.name)
        if len(started) == limit: raise KeyboardInterrupt
        write(snippet, *rest)
    monkeypatch.setattr(cityscapes, 'write_snippet', write_until_the_limit)
    with pytest.raises(KeyboardInterrupt): convert(source)
    folder = ClipFolder(source.parent/'clips')
    assert folder.validate() == {'train': EXPECTED['train']}
    assert sorted(p.name for p in folder.path.iterdir()) == ['dataset.json', 'train'], 'nothing half-written'
    started, limit = [], None
    assert convert(source).validate() == EXPECTED
    assert sorted(started) == sorted(NAMES['val'] + NAMES['test']), 'train is not made twice'
    started = []
    assert convert(source).validate() == EXPECTED and not started, 'nothing left to do'


def test_other_options_and_other_folders_are_refused(official, tmp_path):
    convert(official, tmp_path/'clips', splits=['val'])
    with pytest.raises(ValueError, match="val was made with the options '', not '--size 4 6'"):
        convert(official, tmp_path/'clips', size=(4, 6))
    shutil.rmtree(tmp_path/'clips'/'val')
    with pytest.raises(ValueError, match='val_tc holds other snippets'): convert(official, tmp_path/'clips', size=(4, 6), splits=['val'])
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'mine.txt').write_text('mine')
    with pytest.raises(ValueError, match='mine exists already and is something else'): convert(official, tmp_path/'mine')
    assert os.listdir(tmp_path/'mine') == ['mine.txt']


def test_tc_snippets(official, tmp_path):
    folder = convert(official, tmp_path/'clips')
    assert (folder.path/'tc_snippets.txt').read_text().split() == NAMES['val'] == [clip.name for clip in folder.clips('val_tc')]
    assert same_file(folder.clips('val_tc')[1].files[7], folder.clips('val')[1].files[7])
    assert (folder.clips('val_tc')[1].label(19) == folder.clips('val')[1].label(19)).all()
    names = [f'munster_{i:06d}_000019' for i in range(500)]
    chosen, origin = cityscapes.tc_names(names)
    assert len(set(chosen)) == 100 and set(chosen) < set(names) and cityscapes.tc_names(names[::-1])[0] == chosen and 'seed 0' in origin
    assert chosen[:3] == ['munster_000000_000019', 'munster_000008_000019', 'munster_000011_000019'], 'the same on every machine'
    fewer = cityscapes.tc_names(names[50:])[0]
    assert len(fewer) == 100 and set(fewer) > {name for name in chosen if name in names[50:]}, 'only those that are missing are replaced'


def test_tc_list(source, tmp_path):
    listed = tmp_path/'val_video_list_sam.lst'   # as in the public code: names of lists of frames
    listed.write_text('lindau_000003_000019_leftImg8bit.txt\nfrankfurt_000001_054219_leftImg8bit.txt\n\n')
    folder = convert(source, tc_list=listed)
    assert [clip.name for clip in folder.clips('val_tc')] == ['frankfurt_000001_054219', 'lindau_000003_000019']
    assert 'val_video_list_sam.lst' in folder.info['splits']['val_tc']['protocol']
    convert(source, tc_list=listed)
    with pytest.raises(ValueError, match='val_tc holds other snippets, or older ones, than are asked for: remove it'): convert(source)
    listed.write_text('frankfurt_000001_054219\nfrankfurt_000001_054220\n')
    with pytest.raises(ValueError, match="line 2: val has no snippet 'frankfurt_000001_054220'"):
        convert(source, tmp_path/'b', tc_list=listed)
    assert '1 more are missing' in convert(source, tmp_path/'b', tc_list=listed, partial=True).info['splits']['val_tc']['protocol']
    listed.write_text('something\n')
    with pytest.raises(ValueError, match="line 1: 'something' names no snippet"): convert(source, tmp_path/'c', tc_list=listed)
    with pytest.raises(FileNotFoundError): convert(source, tmp_path/'c', tc_list=tmp_path/'absent')
    assert not (tmp_path/'c').exists()


def test_command_line(official, tmp_path, capsys):
    arguments = [str(official), str(tmp_path/'clips')]
    with pytest.raises(SystemExit, match='cityscapes: .* is not complete: .*--partial'): cityscapes.main(arguments)
    cityscapes.main([*arguments, '--partial', '--size', '4', '6', '--splits', 'train', 'val'])
    printed = capsys.readouterr().out
    assert 'train       4 clips, 120 frames, 4 labels' in printed
    assert 'incomplete: dataset.json lists what is missing: train/aachen' in printed
    assert ClipFolder(tmp_path/'clips').clips('train')[0].size == (4, 6)
    with pytest.raises(SystemExit): cityscapes.main([*arguments, '--size', '0', '6'])
