"data_scripts/one_video.py: two halves of one video, one line for whatever is wrong, nothing half-written; the real data where it is."
import importlib.util

import numpy as np
import pytest

from vidseg.data.clips import ClipFolder
from vidseg.data.images import write_image
from vidseg.data.tracks import annotated, seen, things
from vidseg.workspace import root

spec = importlib.util.spec_from_file_location('one_video', root()/'data_scripts'/'one_video.py')
one_video = importlib.util.module_from_spec(spec)
spec.loader.exec_module(one_video)
REAL = root().parent/'shared'/'data'/'video'


def numbers(t):
    "Thing 2 goes to the right, thing 7 is there in the second half only, thing 3 never moves."
    mask = np.zeros((16, 24), np.uint8)
    mask[2:8, t:t + 4], mask[10:14, 2:6] = 2, 3
    if t > 6: mask[10:14, 12:18] = 7
    return mask


@pytest.fixture
def made(tmp_path):
    "Twelve frames of noise with their masks."
    rng = np.random.default_rng(0)
    for t in range(12):
        for folder, image in (('frames', rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)), ('masks', numbers(t))):
            (tmp_path/folder).mkdir(exist_ok=True)
            write_image(tmp_path/folder/f'{t:05d}.png', image)
    return tmp_path/'frames', tmp_path/'masks', tmp_path/'out'


def test_halves(made):
    folder = one_video.convert(*made, apart=2)
    assert folder.splits == ['half_a', 'half_b'] and things(folder) == ['person']
    (first,), (second,) = folder.clips('half_a'), folder.clips('half_b')
    assert len(first) == len(second) == 5 and annotated(first) == [*range(5)]
    assert first.tracks == {2: 'person', 3: 'person'} and second.tracks == {2: 'person', 3: 'person', 7: 'person'}
    assert all(np.array_equal(clip.instances(i), numbers(start + i)) for clip, start in ((first, 0), (second, 7)) for i in range(5))
    assert seen(second, 0).ids.tolist() == [2, 3, 7]


def test_some_things_as_one_of_several_classes(made):
    folder = one_video.convert(*made, category='dog', only=[7, 2], classes=['person', 'dog'])
    second = folder.clips('half_b')[0]
    assert second.tracks == {2: 'dog', 7: 'dog'} and things(folder) == ['person', 'dog'] and len(second) == 4
    assert np.array_equal(second.instances(0), np.where(numbers(8) == 3, 0, numbers(8))), 'what is not kept is background'


def test_smaller(made):
    clip = one_video.convert(*made, size=(8, 12)).clips('half_a')[0]
    assert clip.size == (8, 12) and clip.instances(0).shape == (8, 12) and set(np.unique(clip.instances(0))) == {0, 2, 3}


@pytest.mark.parametrize('changes, word', [
    (dict(only=[4]), r'no mask holds 4; there are \[2, 3, 7\]'), (dict(apart=9), 'do not make two halves'), (dict(apart=-1), 'do not make'),
    (dict(category='cat', classes=['dog', 'bird']), "category 'cat' is not one of the classes: dog, bird"),
])
def test_faults(made, changes, word):
    with pytest.raises(ValueError, match=word) as caught: one_video.convert(*made, **changes)
    assert '\n' not in str(caught.value) and not made[2].exists()


def test_broken_sources(made, tmp_path):
    frames, masks, target = made
    with pytest.raises(FileNotFoundError, match='no such folder of masks'): one_video.convert(frames, tmp_path/'none', target)
    with pytest.raises(FileNotFoundError, match='no such video'): one_video.convert(tmp_path/'none', masks, target)
    (masks/'00011.png').unlink()
    with pytest.raises(ValueError, match='holds 11 masks, .* has 12 frames'): one_video.convert(*made)
    write_image(masks/'00011.png', np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match='000003'): one_video.convert(*made)      # the last of the second half
    for t in range(12): write_image(masks/f'{t:05d}.png', np.zeros((16, 24), np.uint8))
    with pytest.raises(ValueError, match='no mask holds a number above 0'): one_video.convert(*made)
    assert not target.exists()


def test_command_line(made, capsys):
    frames, masks, target = map(str, made)
    one_video.main([frames, masks, target, '--only', '2', '7', '--apart', '2'])
    assert 'half_a: 5 frames, 1 things' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='one_video: .* exists already'): one_video.main([frames, masks, target])


@pytest.mark.skipif(not REAL.is_dir(), reason='the video of schoolgirls is not at ../shared/data')
def test_schoolgirls(tmp_path):
    folder = one_video.convert(REAL/'schoolgirls.mp4', REAL/'schoolgirls_instances', tmp_path/'out', only=[1, 3, 5, 7])
    assert ClipFolder(tmp_path/'out').validate()['half_a'] == dict(clips=1, frames=38, labels=0)
    assert [len(clip.tracks) for split in folder.splits for clip in folder.clips(split)] == [4, 4]
