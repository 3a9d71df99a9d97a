"data_scripts/youtubevis.py: both layouts, there and back, one clear line for whatever is wrong, nothing half-written."
import copy
import hashlib
import importlib.util
import json
import shutil

import numpy as np
import pytest

from vidseg.data.clips import ClipFolder, write_clip, write_dataset_info
from vidseg.data.coco_tracks import category_ids, video_ids, youtube_vis_results, youtube_vis_truth
from vidseg.data.images import read_image, write_image
from vidseg.data.mask_codes import run_lengths
from vidseg.data.tracks import annotated, seen, things
from vidseg.metrics.average_precision import Track, youtube_vis_ap
from vidseg.training.sampling import Triplets
from vidseg.workspace import root

spec = importlib.util.spec_from_file_location('youtubevis', root()/'data_scripts'/'youtubevis.py')
youtubevis = importlib.util.module_from_spec(spec)
spec.loader.exec_module(youtubevis)

SIZE = 24, 40
CATEGORIES = [dict(id=4, name='person'), dict(id=9, name='ball'), dict(id=2, name='dog')]


def rectangle(x, y, width, height):
    mask = np.zeros(SIZE, bool)
    mask[y:y + height, x:x + width] = True
    return mask


PERSON = [rectangle(2 + 5*t, 3, 9, 18) for t in range(3)]
BALL = [None, rectangle(9, 15, 4, 4), rectangle(30, 15, 4, 4)]    # in the second frame before the person


def draw(folder, files, seed=0):
    "Pictures of noise."
    rng = np.random.default_rng(seed)
    for file in files:
        (folder/file).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder/file, rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def video(key, name, numbers=(0, 5, 10)):
    return dict(id=key, width=SIZE[1], height=SIZE[0], length=3, file_names=[f'{name}/{n:05d}.jpg' for n in numbers])


def annotation(key, of, category, masks):
    codes = [mask if mask is None else run_lengths(mask) for mask in masks]
    return dict(id=key, video_id=of, category_id=category, iscrowd=0, segmentations=codes)


def official(folder):
    "Twelve videos of train, two of valid, one of test, in the official layout."
    videos = dict(train=[video(n, f'{n:03x}') for n in range(1, 13)], valid=[video(1, 'v1'), video(2, 'v2')], test=[video(1, 't1')])
    contents = {split: dict(videos=videos[split], categories=CATEGORIES) for split in videos}
    both = (4, PERSON), (9, BALL)
    contents['train']['annotations'] = [annotation(2*n + k, n, *both[k]) for n in range(1, 13) for k in (0, 1)]
    contents['valid']['annotations'] = None
    for split, content in contents.items():
        write(folder/f'{split}.json', content)
        draw(folder/split/'JPEGImages', [file for one in videos[split] for file in one['file_names']])
    return folder


def cocos(folder):
    "A match of three frames in the layout of COCO, with pictures beside the file."
    files = [f'match/{n}.png' for n in (8, 9, 10)]
    images = [dict(id=70 + t, width=SIZE[1], height=SIZE[0], file_name=file) for t, file in enumerate(files)]
    def entry(key, t, category, track, code): return dict(id=key, image_id=70 + t, category_id=category, track_id=track, segmentation=code)
    square = [[30, 15, 34, 15, 34, 19, 30, 19]]
    annotations = [entry(t, t, 4, 1, run_lengths(PERSON[t], compressed=t == 1)) for t in range(3)]
    annotations += [entry(3, 1, 9, 300, run_lengths(BALL[1])), entry(4, 2, 9, 300, square)]
    draw(folder, files)
    write(folder/'own.json', dict(images=images, categories=CATEGORIES, annotations=annotations))
    return folder/'own.json'


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def change(file, *path, **values):
    "Change an entry of a file: of what is at `path`. A value of ... is taken away."
    content = json.loads(file.read_text())
    entry = content
    for key in path: entry = entry[key]
    entry.update(values)
    for key in [key for key, value in values.items() if value is ...]: del entry[key]
    write(file, content)


def refused(source, *said, kind=ValueError, **options):
    "Refused in one line that says all of this; nothing may be left behind."
    target = source.parent/'never'/'made'
    with pytest.raises(kind) as caught: youtubevis.convert(source, target, **options)
    assert not target.parent.exists() or not any(target.parent.iterdir()), 'half-written'
    message = str(caught.value)
    assert '\n' not in message and 'never' not in message and all(part in message for part in said), message


def expected(t):
    "The map of a frame: the ball before the person."
    ids = PERSON[t].astype(int)
    if BALL[t] is not None: ids[BALL[t]] = 2
    return ids


def test_official(tmp_path):
    data = youtubevis.convert(official(tmp_path/'vis'), tmp_path/'made', partial=True)
    assert data.classes == ['background', 'person', 'ball', 'dog'] and data.fps == 6 and data.splits == ['test', 'train', 'val', 'valid']
    assert data.validate()['valid'] == dict(clips=2, frames=6, labels=0)
    assert len(data.clips('train')) + len(data.clips('val')) == 12
    for clip in (*data.clips('train'), *data.clips('val')):
        assert clip.frames == ['00000', '00005', '00010'] and clip.tracks == {1: 'person', 2: 'ball'}
        for t in range(3): assert np.array_equal(clip.instances(t), expected(t)) and clip.instances(t).dtype == np.uint8
        assert clip.files[1].samefile(tmp_path/'vis'/'train'/'JPEGImages'/clip.name/'00005.jpg'), 'linked, not copied'
    assert {path.parent.parent.name for path in data.path.glob('*/*/instances')} == {'train', 'val'}


def test_neighbours(tmp_path):
    "Frames that are numbered with a stride have neighbours."
    data = youtubevis.convert(official(tmp_path/'vis'), tmp_path/'made', partial=True)
    clips = data.clips('train')
    sample = Triplets(clips, sampling='adjacent', neighbours='both', labelled=False)[0]
    clip = next(clip for clip in clips if np.allclose(255*sample['frame'].numpy().transpose(1, 2, 0), clip.frame(1), atol=1e-3))
    for found, t in zip(sample['neighbours'], (0, 2)): assert np.allclose(255*found.numpy().transpose(1, 2, 0), clip.frame(t), atol=1e-3)


def test_description(tmp_path):
    data = youtubevis.convert(official(tmp_path/'vis'), tmp_path/'made', partial=True)
    assert len(np.unique(data.colors, axis=0)) == 4
    shared = int((PERSON[1] & BALL[1]).sum())
    assert shared > 0 and sum(int(note.split()[1]) for note in data.info['notes'] if 'several masks' in note) == 12*shared
    assert 'train: no instance of dog' in data.info['notes']
    assert video_ids(data.clips('valid')) == [1, 2] and category_ids(data) == [4, 9, 2], 'as the file has them'


def test_holdout(tmp_path):
    source = official(tmp_path/'vis')
    data = youtubevis.convert(source, tmp_path/'made', holdout=3, partial=True)
    held = {clip.name for clip in data.clips('val')}
    digests = {f'{n:03x}': hashlib.sha256(f'{n:03x}'.encode()).hexdigest() for n in range(1, 13)}
    assert held == {name for name, digest in digests.items() if int(digest, 16) % 3 == 0} and 0 < len(held) < 12
    assert held | {clip.name for clip in data.clips('train')} == set(digests)
    one = youtubevis.convert(source, tmp_path/'one', holdout=10**9, partial=True)
    assert [clip.name for clip in one.clips('val')] == [min(digests, key=digests.get)], 'at least one is held out'
    assert youtubevis.convert(source, tmp_path/'none', holdout=0, partial=True).splits == ['test', 'train', 'valid']


def test_counts(tmp_path):
    source = official(tmp_path/'vis')
    counts = {'train': 12, 'valid': 2, 'test': 1, 'things in train': 24, 'categories': 3}
    assert youtubevis.convert(source, tmp_path/'made', counts=counts).name == 'YouTube-VIS 2019'
    refused(source, 'vis holds 12 videos of train, 2238 are published', '--partial')
    refused(source, 'vis holds 24 things in train, 25 are published', counts=counts | {'things in train': 25})
    refused(source, 'vis holds 3 categories, 40 are published', counts=counts | {'categories': 40})
    (source/'test.json').unlink()
    refused(source, 'vis lacks test.json', kind=FileNotFoundError, counts=counts)
    refused(tmp_path/'absent', 'absent', kind=FileNotFoundError)
    change(source/'valid.json', 'categories', 0, name='cat')
    refused(source, 'valid.json has other categories than', partial=True)


def test_partial(tmp_path):
    source = official(tmp_path/'vis')
    (source/'train'/'JPEGImages'/'003'/'00005.jpg').unlink()
    refused(source, 'train.json: 1 frames are missing', '003/00005.jpg', kind=FileNotFoundError, counts={})
    data = youtubevis.convert(source, tmp_path/'made', partial=True)
    assert '003' not in [clip.name for split in ('train', 'val') for clip in data.clips(split)]
    assert data.info['missing'] == ['train/003 (without 003/00005.jpg)']


def test_coco(tmp_path):
    data = youtubevis.convert(cocos(tmp_path), tmp_path/'made', holdout=0, fps=25)
    clip, = data.clips('train')
    assert (clip.name, clip.fps, clip.frames, clip.tracks) == ('match', 25, ['8', '9', '10'], {1: 'person', 300: 'ball'})
    assert clip.instances(0).dtype == np.uint16 and data.info['category_ids'] == dict(person=4, ball=9, dog=2)
    for t in range(3): assert np.array_equal(clip.instances(t), np.where(expected(t) == 2, 300, expected(t)))
    assert data.validate() == {'train': dict(clips=1, frames=3, labels=0)}


def test_one_video_is_cut(tmp_path):
    data = youtubevis.convert(cocos(tmp_path), tmp_path/'made')
    train, val = (data.clips(split)[0] for split in ('train', 'val'))
    assert (train.frames, val.frames) == (['8', '9'], ['10']) and val.tracks == {1: 'person', 300: 'ball'}
    assert np.array_equal(val.instances(0) == 300, BALL[2])


def test_still_images(tmp_path):
    file = cocos(tmp_path)
    content = json.loads(file.read_text())
    for entry in content['annotations']: del entry['track_id']
    content['annotations'].append(dict(id=9, image_id=70, category_id=4, iscrowd=1, segmentation=run_lengths(rectangle(0, 0, 40, 3))))
    write(file, content)
    data = youtubevis.convert(file, tmp_path/'made', holdout=0)
    clips = data.clips('train')
    assert [clip.name for clip in clips] == ['match-8', 'match-9', 'match-10'] and all(len(clip) == 1 for clip in clips)
    assert [clip.tracks for clip in clips] == [{1: 'person'}, {1: 'person', 2: 'ball'}, {1: 'person', 2: 'ball'}]
    assert data.info['splits']['train']['video'] is False and 'train: 1 crowd regions are left out' in data.info['notes']
    assert video_ids(clips) == [70, 71, 72]


@pytest.mark.parametrize('names', [['a', 'c', 'b'], ['1', '2', '3', '7', '8'], ['a/1', 'b/1', 'c/1'], ['.1', '.2', '.3']])
def test_names_that_say_something_else(tmp_path, names):
    "Names in another order, with a hole, twice, or hidden: frames are called by their place in the file."
    files = [f'{name}.png' for name in names]
    draw(tmp_path/'pictures', files)
    film = dict(id=1, width=SIZE[1], height=SIZE[0], file_names=files)
    person = annotation(1, 1, 4, PERSON + [None]*(len(names) - 3))
    write(tmp_path/'own.json', dict(videos=[film], categories=CATEGORIES, annotations=[person]))
    data = youtubevis.convert(tmp_path/'own.json', tmp_path/'made', images=tmp_path/'pictures', holdout=0)
    clip, = data.clips('train')
    assert clip.frames == [f'{t:06d}' for t in range(len(names))] and data.validate()
    for t, file in enumerate(files): assert np.array_equal(clip.frame(t), read_image(tmp_path/'pictures'/file))
    assert np.array_equal(clip.instances(2) == 1, PERSON[2])


def many(rng, folder, clips=3):
    "A clip folder of random rectangles: numbers above 255, gaps, things that leave, frames that do not begin at 0."
    classes = ['background', 'person', 'ball']
    write_dataset_info(folder, name='many', classes=classes, colors=np.eye(3)*255, fps=6)
    for k in range(clips):
        tracks = {int(n): classes[1 + int(n) % 2] for n in rng.choice(np.arange(1, 60000), 8, replace=False)}
        instances = []
        for _ in range(5):
            ids = np.zeros(SIZE, np.uint16)
            for n in rng.choice(list(tracks), 4, replace=False):
                x, y = rng.integers(0, SIZE[1] - 6), rng.integers(0, SIZE[0] - 6)
                ids[y:y + rng.integers(1, 16), x:x + rng.integers(1, 16)] = n
            instances.append(ids)
        there = {n: name for n, name in tracks.items() if any((ids == n).any() for ids in instances)}
        frames = rng.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
        write_clip(folder/'train'/f'clip {k}'.replace(' ', '_'), frames, instances=instances, tracks=there, start=17*k)
    return ClipFolder(folder)


@pytest.mark.parametrize('seed', range(3))
def test_there_and_back(tmp_path, seed):
    "A clip folder, as a file, as a clip folder: nothing has changed. Results made of the truth are perfect."
    before = many(np.random.default_rng(seed), tmp_path/'before')
    clips = before.clips('train')
    truth = youtube_vis_truth(clips)
    write(tmp_path/'there'/'train.json', truth)
    for clip in clips: shutil.copytree(clip.path/'frames', tmp_path/'there'/'train'/'JPEGImages'/clip.name)
    after = youtubevis.convert(tmp_path/'there', tmp_path/'after', holdout=0, partial=True)
    assert after.classes == before.classes and after.fps == before.fps
    for old, new in zip(clips, after.clips('train'), strict=True):
        assert (old.name, old.frames, old.tracks) == (new.name, new.frames, new.tracks) and annotated(old) == annotated(new)
        for t in range(len(old)):
            assert np.array_equal(old.frame(t), new.frame(t)) and np.array_equal(old.instances(t), new.instances(t))
    assert youtube_vis_truth(after.clips('train')) == truth

    results = [part for clip, key in zip(clips, video_ids(clips)) for part in youtube_vis_results(key, of_truth(clip), SIZE)]
    (tmp_path/'results.json').write_text(json.dumps(results))
    found = youtube_vis_ap(tmp_path/'there'/'train.json', tmp_path/'results.json')
    assert found['AP'] == found['AP50'] == found['AR100'] == 100 and found['AR1'] < 100


def of_truth(clip):
    "The true tracks of a clip, packed as the metric has them."
    labels, ids = dict.fromkeys(clip.tracks), category_ids(clip.folder)
    for t in range(len(clip)): labels |= {int(n): int(label) for n, _, label in zip(*seen(clip, t))}
    every = np.stack([clip.instances(t) for t in range(len(clip))])
    for n, label in labels.items():
        track = Track.of(every == n, label)
        assert things(clip.folder)[label] == clip.tracks[n]
        yield track.bits, ids[track.category], 1 - n/65536


def test_frames_that_are_not_annotated(tmp_path):
    "The truth has the annotated frames only: of the others nobody knows."
    data = many(np.random.default_rng(9), tmp_path/'data', clips=1)
    clip, = data.clips('train')
    kept = clip.instances(2)
    for t in (0, 1, 3): (clip.path/'instances'/f'{clip.frames[t]}.png').unlink()
    truth = youtube_vis_truth(data.clips('train'))
    assert truth['videos'][0]['file_names'] == ['clip_0/000002.png', 'clip_0/000004.png']
    assert {entry['track_id'] for entry in truth['annotations'] if entry['segmentations'][0]} == set(np.unique(kept[kept > 0]).tolist())


BROKEN = [ # what is changed of the file of COCO's layout → what is said
    (('annotations', 1), dict(segmentation=run_lengths(np.ones((12, 20)))),
     'annotation 1, match/9.png: a mask of [12, 20], the frame has [24, 40]'),
    (('annotations', 1), dict(segmentation=dict(size=[24, 40], counts=[5, 6])),
     'annotation 1, match/9.png: a mask of 11 pixels, the frame has 960'),
    (('annotations', 1), dict(segmentation=[[1, 2, 3, 4]]), 'annotation 1, match/9.png: [1, 2, 3, 4] is no polygon'),
    (('annotations', 1), dict(segmentation=[]), 'annotation 1, match/9.png: no mask'),
    (('annotations', 1), dict(segmentation=...), "entry 1 of annotations lacks 'segmentation'"),
    (('annotations', 1), dict(category_id=9), "track 1 is 'person' in annotation 0, 'ball' in annotation 1"),
    (('annotations', 1), dict(image_id=70), 'track 1 is twice in match/8.png: annotations 0 and 1'),
    (('annotations', 1), dict(image_id=5), 'annotation 1 has the unknown image_id 5'),
    (('annotations', 1), dict(category_id=5), 'annotation 1 has the unknown category_id 5'),
    (('annotations', 1), dict(track_id=...), 'annotation 1 lacks the track_id'),
    (('annotations', 1), dict(track_id=1.5), 'entry 1 of annotations has the track_id 1.5'),
    (('images', 1), dict(width='40'), "entry 1 of images has the width '40'"),
    (('images', 1), dict(id=70), 'entry 1 of images has the id 70 of another'),
    (('images', 1), dict(height=25), 'image 71 is 25×40, the first of its video 24×40'),
    ((), dict(categories=...), "own.json lacks the list 'categories'"),
    ((), dict(annotations=...), "own.json lacks the list 'annotations'"),
    ((), dict(images=...), "own.json lacks the list 'images' (COCO) or 'videos'"),
    ((), dict(images=[], annotations=[]), 'own.json holds no video'),
]


@pytest.mark.parametrize('path, values, said', BROKEN, ids=[f'{n}' for n in range(len(BROKEN))])
def test_broken_file(tmp_path, path, values, said):
    file = cocos(tmp_path)
    change(file, *path, **copy.deepcopy(values))
    refused(file, 'own.json', said, holdout=0)


def test_broken_pictures(tmp_path):
    file = cocos(tmp_path)
    write_image(tmp_path/'match'/'9.png', np.zeros((12, 40, 3), np.uint8))
    refused(file, 'match/9.png is 12×40, ', 'own.json says 24×40')
    (tmp_path/'match'/'9.png').write_bytes(b'no picture')
    refused(file, 'match/9.png is not a readable picture')
    (tmp_path/'match'/'9.png').unlink()
    refused(file, 'own.json: 1 frames are missing', 'match/9.png', kind=FileNotFoundError)
    file.write_text('{"images": [')
    refused(file, 'own.json is no JSON')


def test_command_line(tmp_path, capsys):
    file = cocos(tmp_path)
    youtubevis.main([str(file), str(tmp_path/'made'), '--holdout', '0'])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'train  1 clips, 3 frames, 3 with instances, 2 tracks' and said[1] == 'train: no instance of dog'
    assert said[2].startswith('train: 16 pixels of 1 frames are in several masks'), said
    with pytest.raises(SystemExit, match='youtubevis: .* exists already'): youtubevis.main([str(file), str(tmp_path/'made')])
    for wrong in (['--fps', '0'], ['--holdout', '1']):
        with pytest.raises(SystemExit): youtubevis.main([str(file), str(tmp_path/'other'), *wrong])
    youtubevis.main([str(official(tmp_path/'vis')), str(tmp_path/'partial'), '--partial'])
    assert 'valid  2 clips, 6 frames, 0 with instances, 0 tracks' in capsys.readouterr().out
