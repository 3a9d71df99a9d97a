"data_scripts/vw300.py on a small tree in the official layout: what becomes of it, and one clear line for what is missing or broken."
import importlib.util
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vidseg.data.images import read_image, write_image
from vidseg.workspace import root

spec = importlib.util.spec_from_file_location('vw300', root()/'data_scripts'/'vw300.py')
vw300 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vw300)

SIZE = 12, 10
STARTS = {'train': [('001', 1), ('001', 31), ('001', 91), ('002', 5), ('003', 1)], 'val': [('401', 61)], 'test': [('505', 1), ('506', 1)]}
COUNTS = dict(train=(3, 5), val=(1, 1), test=(2, 2))
NAMES = {split: [f'{video}_{first:06d}' for video, first in starts] for split, starts in STARTS.items()}
EXPECTED = {'train': dict(clips=5, frames=150, labels=150), 'val': dict(clips=1, frames=30, labels=30),
            'test': dict(clips=2, frames=60, labels=60),
            'train_10': dict(clips=1, frames=30, labels=30), 'train_rest': dict(clips=4, frames=120, labels=0)}


def frames_of(split): return [f'{video}_{i:06d}' for video, first in STARTS[split] for i in range(first, first + 30)]


def label_of(name, shape=SIZE):
    ids = np.resize(np.arange(5), shape[0]*shape[1])
    return np.roll(ids, int(name[-3:])).reshape(shape).astype(np.uint8)


def put(source, name, shape=SIZE, label=None):
    "One frame and its label."
    noise = np.random.default_rng(int(name.replace('_', ''))).integers(0, 256, (*shape, 3), dtype=np.uint8)
    write_image(source/'images_orig'/f'{name}.jpg', noise)
    write_image(source/'labels_orig'/f'{name}.png', label_of(name, shape) if label is None else label)


@pytest.fixture(scope='session')
def official(tmp_path_factory):
    "A small 300VW-Mask, as its archive unpacks; frames that no list names are there too."
    source = tmp_path_factory.mktemp('official')/'300VW-Mask-Dataset'
    for folder in ('images_orig', 'labels_orig', 'data_splits/split_1', 'data_splits/split_2'): (source/folder).mkdir(parents=True)
    for split in STARTS:
        lines = [f'/images_orig/{name}.jpg /labels_orig/{name}.png' for name in frames_of(split)]
        (source/'data_splits'/'split_1'/f'{split}_per10.txt').write_text('\n'.join(lines) + '\n')
        for name in frames_of(split): put(source, name)
    put(source, '001_000061')
    (source/'data_splits'/'split_2'/'A.txt').write_text('/images_orig/001_000061.jpg /labels_orig/001_000061.png\n')
    (source/'README.md').touch()
    return source


@pytest.fixture
def source(official, tmp_path):
    "A copy to break."
    return shutil.copytree(official, tmp_path/'300VW-Mask-Dataset')


def convert(source, target=None, **options):
    options = dict(counts=COUNTS) | options
    return vw300.convert(source, target or source.parent/'clips', **options)


def refused(source, kind=ValueError, **options):
    "The line with which `source` is refused; nothing may be there, not even half."
    with pytest.raises(kind) as caught: convert(source, source.parent/'refused', **options)
    assert '\n' not in str(caught.value) and not [p for p in source.parent.iterdir() if 'refused' in p.name], 'half-written'
    return str(caught.value)


def change_list(source, split, old, new):
    file = source/'data_splits'/'split_1'/f'{split}_per10.txt'
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def same_file(a, b): return os.stat(a).st_ino == os.stat(b).st_ino


def test_published_counts():
    assert {split: 30*sequences for split, (_, sequences) in vw300.COUNTS.items()} == dict(train=18570, val=1740, test=2400)
    assert sum(videos for videos, _ in vw300.COUNTS.values()) == 114


def test_sequences(official, tmp_path):
    folder = convert(official, tmp_path/'clips')
    assert folder.validate() == EXPECTED and folder.fps == 30 and folder.info['missing'] == []
    assert folder.classes == ['background', 'skin', 'eyes', 'outer mouth', 'inner mouth'] and folder.info['label_ids'] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('split', STARTS)
def test_clips(official, tmp_path, split):
    clips = convert(official, tmp_path/'clips').clips(split)
    assert [clip.name for clip in clips] == NAMES[split]
    for clip, (video, first) in zip(clips, STARTS[split]):
        assert clip.frames == [f'{i:06d}' for i in range(first, first + 30)] and clip.labelled == list(range(30)) and clip.fps == 30
        for i in (0, 29):
            name = f'{video}_{first + i:06d}'
            assert (clip.label(i) == label_of(name)).all()
            assert same_file(clip.files[i], official/'images_orig'/f'{name}.jpg'), 'linked, not copied'


def test_semi_supervised(official, tmp_path):
    folder = convert(official, tmp_path/'a', labelled=.4)
    chosen, rest = folder.clips('train_40'), folder.clips('train_rest')
    assert len(chosen) == 2 and sorted(clip.name for clip in chosen + rest) == NAMES['train'], 'every sequence is in one of them'
    assert all(clip.labelled == [] for clip in rest) and rest[0].fps == 30
    train = {clip.name: clip for clip in folder.clips('train')}
    for clip in chosen + rest: assert same_file(clip.files[7], train[clip.name].files[7])
    assert (chosen[0].label(7) == train[chosen[0].name].label(7)).all()
    assert len(train[rest[0].name].labelled) == 30, 'train keeps the truth'
    assert '2 sequences, 0.4 of train, drawn with seed 0' in folder.info['splits']['train_40']['protocol']
    assert set(convert(official, tmp_path/'b', labelled=0).splits) == {'train', 'val', 'test'}


def test_drawing_the_labelled_ones():
    names = [f'{i:03}_000001' for i in range(619)]
    def drawn(share, names=names): return vw300.labelled_names(names, share)[1]
    assert [len(drawn(share)) for share in (.1, '0.1', .2, 0)] == [62, 62, 124, 0]
    assert set(drawn(.1)) < set(drawn(.2, names[::-1])), 'more labels, the same ones among them'
    assert drawn(.1)[:3] == ['004_000001', '014_000001', '018_000001'], 'the same on every machine'


def test_listed_sequences(source):
    listed = source.parent/'labelled.txt'
    listed.write_text('003_000001\n\n001_000091\n')
    folder = convert(source, labelled=str(listed))
    assert [clip.name for clip in folder.clips('train_listed')] == ['001_000091', '003_000001'] and len(folder.clips('train_rest')) == 3
    listed.write_text('003_000001\n003_000002\n')
    assert "line 2: train has no sequence '003_000002'" in refused(source, labelled=listed)
    listed.write_text('003_000001\n003_000001\n')
    assert 'line 2: 003_000001 is named before, in line 1' in refused(source, labelled=listed)
    listed.write_text('')
    assert 'names none of the 5 sequences' in refused(source, labelled=listed)
    assert 'a share is from 0 to below 1' in refused(source, labelled=1.5)
    refused(source, FileNotFoundError, labelled='absent.txt')


@pytest.mark.parametrize('style', ['names', 'files', 'ranges', 'shuffled'])
def test_other_lists(official, tmp_path, style):
    for split in STARTS:
        lines = frames_of(split)
        if style == 'files': lines = [f'{name}.jpg' for name in lines]
        if style == 'ranges': lines = ['# video, first, last', *(f'{video} {first} {first + 29}' for video, first in STARTS[split])]
        if style == 'shuffled': np.random.default_rng(0).shuffle(lines)
        (tmp_path/f'{split}.txt').write_text('\n'.join(lines))
    folder = convert(official, tmp_path/'clips', lists=tmp_path)
    assert folder.validate() == EXPECTED and [clip.name for clip in folder.clips('train')] == NAMES['train']


def test_lists_beside_the_archive(source):
    for split in STARTS: shutil.move(source/'data_splits'/'split_1'/f'{split}_per10.txt', source/'data_splits'/f'{split}.txt')
    assert convert(source).validate() == EXPECTED
    (source/'data_splits'/'val.txt').unlink()
    message = refused(source, FileNotFoundError)
    assert 'no list of the split val' in message and 'val_per10.txt' in message and '--lists' in message


def test_wrong_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='is not the folder 300VW-Mask-Dataset: it lacks images_orig, labels_orig; get it'):
        convert(tmp_path)


def test_frames_of_different_sizes(source):
    shapes = {3: (14, 10), 7: (13, 12)}
    for i, shape in shapes.items(): put(source, f'401_{61 + i:06d}', shape)
    folder = convert(source)
    clip = folder.clips('val')[0]
    assert clip.size == (14, 12) and '1 of 8 sequences: their frames differ in size' in folder.info['padded']
    for i in (0, 3, 7):
        (h, w), name = shapes.get(i, SIZE), f'401_{61 + i:06d}'
        top, left = (14 - h)//2, (12 - w)//2
        frame, label = clip.frame(i), clip.label(i)
        published = read_image(source/'images_orig'/f'{name}.jpg')
        assert (frame[top:top + h, left:left + w] == published).all(), 'every published pixel as it was'
        assert (label[top:top + h, left:left + w] == label_of(name, (h, w))).all() and (label == 255).sum() == 14*12 - h*w
    assert same_file(folder.clips('test')[0].files[0], source/'images_orig'/'505_000001.jpg'), 'the others are linked'


def test_size(source):
    put(source, '401_000064', (14, 10))
    clip = convert(source, size=(6, 5)).clips('val')[0]
    assert clip.size == (6, 5) and set(np.unique(clip.label(3))) <= set(range(5))
    frame = read_image(source/'images_orig'/'401_000061.jpg').astype(float)
    assert np.abs(clip.frame(0) - frame.reshape(6, 2, 5, 2, 3).mean((1, 3))).max() <= 1, 'each pixel is the mean of four'


def test_ids_and_colours(source):
    folder = convert(source, source.parent/'a', ids=[4, 3, 2, 1, 0])
    assert (folder.clips('val')[0].label(0) == 4 - label_of('401_000061')).all()
    label = label_of('401_000061')
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255)], np.uint8)
    write_image(source/'labels_orig'/'401_000061.png', colors[label])
    palette = Image.fromarray(label_of('401_000062'), 'P')
    palette.putpalette(colors.ravel().tolist())
    palette.save(source/'labels_orig'/'401_000062.png')
    label[0, 0] = 255
    write_image(source/'labels_orig'/'401_000063.png', label)
    clip = convert(source, source.parent/'b').clips('val')[0]
    for i in (0, 1): assert (clip.label(i) == label_of(f'401_{61 + i:06d}')).all()
    assert clip.label(2)[0, 0] == 255
    write_image(source/'labels_orig'/'401_000061.png', np.full((*SIZE, 3), 7, np.uint8))
    assert '401_000061.png holds the colour #070707' in refused(source)
    assert 'five different values' in refused(source, ids=[0, 1, 2, 3, 3])


def test_published_counts_are_asked_for(official, tmp_path, capsys):
    with pytest.raises(ValueError, match='is not complete: train: .* 3 videos, 93 are published .and 5 more, listed above.; --partial'):
        convert(official, tmp_path/'clips', counts=vw300.COUNTS)
    assert 'names 30 frames, 1740 are published' in capsys.readouterr().err and not (tmp_path/'clips').exists()
    folder = convert(official, tmp_path/'clips', counts=vw300.COUNTS, partial=True)
    assert folder.validate() == EXPECTED and len(folder.info['missing']) == 6


@pytest.mark.parametrize('kind', ['images_orig', 'labels_orig'])
def test_missing_files(source, kind):
    next((source/kind).glob('002_000011.*')).unlink()
    message = refused(source)
    assert 'train: 1 of 5 sequences lack files: 002_000005 (without ' + kind + '/002_000011' in message
    folder = convert(source, partial=True)
    assert [clip.name for clip in folder.clips('train')] == [name for name in NAMES['train'] if name != '002_000005']
    assert len(folder.info['missing']) == 1 and folder.validate()['val'] == EXPECTED['val']


def test_a_gap_in_a_sequence(source):
    change_list(source, 'train', '/images_orig/002_000020.jpg /labels_orig/002_000020.png\n', '')
    message = refused(source)
    assert 'names 149 frames, 150 are published' in message
    assert len(convert(source, partial=True).clips('train')) == 4


def test_no_sequence_left(source):
    shutil.rmtree(source/'images_orig')
    (source/'images_orig').mkdir()
    assert 'holds no complete sequence of train' in refused(source, partial=True)


@pytest.mark.parametrize('line', ['/images_orig/../../etc/401_000061.jpg', '../401_000061.jpg /labels_orig/401_000061.png', '/etc/passwd',
                                  '/images_orig/401_000061.jpg /labels_orig/../401_000061.png', '401_61', '401 ninety 120',
                                  'images_orig/401_000061.png'])
def test_lines_that_name_no_frame_of_the_archive(source, line):
    change_list(source, 'val', '/images_orig/401_000061.jpg /labels_orig/401_000061.png', line)
    assert 'val_per10.txt, line 1: ' in refused(source, partial=True)


def test_names_that_contradict(source):
    change_list(source, 'val', '/images_orig/401_000070.jpg', '/images_orig/401_000069.jpg')
    assert "line 10: the label '401_000070.png' belongs to another frame than 401_000069" in refused(source)
    change_list(source, 'val', '/labels_orig/401_000070.png', '/labels_orig/401_000069.png')
    assert 'line 10: 401_000069 is named before, in line 9' in refused(source)


def test_ranges_that_name_nothing(source):
    for line in ('401 90 61', '401 0 29'):
        (source/'data_splits'/'split_1'/'val_per10.txt').write_text(line)
        assert f"line 1: '{line}' names no frames" in refused(source)


def test_a_video_in_two_splits(source):
    (source/'data_splits'/'split_1'/'val_per10.txt').write_text('001 1 30\n')
    assert 'video 001 is in the lists of train and of val' in refused(source)


def test_unknown_label_id(source):
    put(source, '505_000003', label=np.full(SIZE, 5, np.uint8))
    assert '505_000003.png holds the value 5; labels hold 0, 1, 2, 3, 4 (--ids) and 255 for ignore' in refused(source)


def test_label_of_another_size(source):
    put(source, '505_000003', label=np.zeros((12, 9), np.uint8))
    assert '505_000003.png is 12×9, its frame is 12×10' in refused(source)


def test_broken_pictures(source):
    for file in (source/'images_orig'/'505_000003.jpg', source/'labels_orig'/'505_000003.png'):
        whole = file.read_bytes()
        file.write_bytes(whole[:len(whole)//2])
        assert f'{file} cannot be decoded' in refused(source)
        file.write_bytes(whole)
    write_image(source/'labels_orig'/'505_000003.png', np.zeros(SIZE, np.uint16))
    assert '505_000003.png is' in refused(source)


def test_target_that_exists(source):
    convert(source)
    with pytest.raises(FileExistsError, match='clips exists already'): convert(source)


def test_where_links_are_refused(official, tmp_path, monkeypatch):
    def refuse(*_): raise OSError('not on this disk')
    for name in ('link', 'symlink'): monkeypatch.setattr(os, name, refuse)
    folder = convert(official, tmp_path/'clips')
    assert folder.validate() == EXPECTED and not same_file(folder.clips('val')[0].files[0], official/'images_orig'/'401_000061.jpg')


def test_interrupted(source, monkeypatch):
    write = vw300.write_sequence
    def stop(source, frames, *rest):
        if frames[0] == '505_000001': raise KeyboardInterrupt
        return write(source, frames, *rest)
    monkeypatch.setattr(vw300, 'write_sequence', stop)
    with pytest.raises(KeyboardInterrupt): convert(source)
    assert sorted(p.name for p in source.parent.iterdir()) == ['300VW-Mask-Dataset'], 'nothing half-written'


def test_command_line(official, tmp_path, capsys):
    arguments = [str(official), str(tmp_path/'clips')]
    with pytest.raises(SystemExit, match='vw300: .* is not complete: .*--partial'): vw300.main(arguments)
    vw300.main([*arguments, '--partial', '--size', '6', '5', '--labelled', '0.2', '--ids', '0', '1', '2', '3', '4'])
    printed = capsys.readouterr().out
    assert 'train        5 clips, 150 frames, 150 labels' in printed and 'train_20     1 clips, 30 frames, 30 labels' in printed
    assert 'incomplete: dataset.json lists what is missing: train: ' in printed
    with pytest.raises(SystemExit): vw300.main([*arguments, '--size', '0', '6'])
