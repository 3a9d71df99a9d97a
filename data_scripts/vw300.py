"""300VW-Mask to a clip folder: one-second clips of talking faces, labelled in every frame, and the splits of the semi-supervised setting.

    python data_scripts/vw300.py SOURCE [TARGET] [--size 256 256] [--lists FOLDER] [--ids 0 1 2 3 4] [--labelled 0.1] [--partial]

SOURCE is the unpacked folder `300VW-Mask-Dataset` of https://github.com/mapleandfire/300VW-Mask:

    images_orig/001_000001.jpg                 the face in frame 1 (the first) of video 001, cropped
    labels_orig/001_000001.png                 its label
    data_splits/split_1/train_per10.txt        the frames of the split, and val_per10.txt and test_per10.txt: 619, 58 and 80 sequences of
                                               30 frames at 30 fps, from 93, 9 and 12 videos (18570, 1740 and 2400 frames)

Lists are looked for as `data_splits/split_1/<split>_per10.txt`, then `<split>.txt` there, then `data_splits/<split>.txt`; or only in the
folder given with `--lists`. A line names one frame as the archive does, `/images_orig/001_000001.jpg /labels_orig/001_000001.png`, or in
short, `001_000001.jpg` or `001_000001`; or it names a range of frames, `001 1 30` (video, first, last). Consecutive frames of a video make
sequences of 30, whatever their order in the list. Empty lines and lines that begin with # are passed over.

TARGET gets five splits; a clip is named after its first frame, its frames have the numbers of the video:

    train, val, test     labelled in every frame
    train_10             a tenth of the sequences of train with their labels: the labelled data of the semi-supervised setting
    train_rest           the other sequences of train without labels: video for pseudo labels. The truth is in `train`, under the same names

`--labelled` takes another share (the split is then train_20, …), 0 for none, or a file that names the labelled sequences, a clip a line
(then train_listed). A share is drawn by a hash of the names: the same on every machine. The paper's own draw is not published.

What a label's values mean is not written down with the archive: that 0 … 4 are background, skin, eyes, outer mouth and inner mouth is
an assumption, and `--ids` gives other values in this order; 255 is ignored. Labels in the colours of the public Matlab script are read too.

The crops follow the face, so the frames of a sequence may differ in size by some pixels. Where they are of one size they are linked (hard
link, else symbolic link, else copy). Else they are laid centred on a canvas of the largest, as png: the border repeats and has label 255,
so every published pixel and label counts as it is ("all the metrics are calculated on the original image resolution"). With `--size`
all are resized. Nothing is written unless everything is there; `--partial` leaves incomplete sequences out, and dataset.json lists them.
"""
import argparse
import hashlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from vidseg.data.clips import ClipFolder, write_dataset_info
from vidseg.data.faces import FaceWorld
from vidseg.data.images import read_image, write_image
from vidseg.workspace import atomic_folder, and_more, link, root

OFFICIAL = 'https://github.com/mapleandfire/300VW-Mask'
LENGTH, FPS, SEED = 30, 30, 0                                          # of a sequence, of the video, of the draw of labelled sequences
COUNTS = dict(train=(93, 619), val=(9, 58), test=(12, 80))             # published videos and sequences
IGNORE, UNKNOWN = 255, 254
SCRIPT_COLORS = {0x000000: 0, 0xff0000: 1, 0x00ff00: 2, 0x00ffff: 3, 0x0000ff: 4}   # of do_segmentation.m: 0xRRGGBB → class
FRAME = r'(?:/?images_orig/)?(\d{3})_(\d{6})(?:\.jpg)?'                # as lists name it


def read_list(
    file:Path, # of one split
) -> dict[str, list[int]]: # {video: sorted frame numbers}
    "The frames that a list names. Raises `ValueError` naming the line that names none, a frame twice, or a label of another frame."
    videos = {}
    for n, line in enumerate(file.read_text(encoding='utf-8').splitlines(), 1):
        line, wrong = line.strip(), f'{file}, line {n}: '
        if not line or line[0] == '#': continue
        if found := re.fullmatch(FRAME + r'(?:\s+/?labels_orig/(\S+)\.png)?', line):
            video, first, label = found.groups()
            if label not in (None, f'{video}_{first}'):
                raise ValueError(f"{wrong}the label '{label}.png' belongs to another frame than {video}_{first}")
            numbers = [int(first)]
        elif found := re.fullmatch(r'(\d{3})\s+(\d{1,6})\s+(\d{1,6})', line):
            video, numbers = found[1], list(range(int(found[2]), int(found[3]) + 1))
        else: raise ValueError(f"{wrong}'{line}' names no frame (like /images_orig/001_000001.jpg) and no range of frames (like 001 1 30)")
        if not numbers or numbers[0] < 1:
            raise ValueError(f"{wrong}'{line}' names no frames: they count from 1, and the last is not before the first")
        known = videos.setdefault(video, {})
        if twice := [i for i in numbers if i in known]:
            raise ValueError(f'{wrong}{video}_{twice[0]:06d} is named before, in line {known[twice[0]]}')
        known.update(dict.fromkeys(numbers, n))
    return {video: sorted(numbers) for video, numbers in sorted(videos.items())}


def find_list(
    source:Path,            # folder of the archive
    split:str,              # 'train', 'val' or 'test'
    lists:str|Path|None,    # folder of the lists; None: those of the archive
) -> Path:
    "The list of a split. Raises `FileNotFoundError` saying where it was looked for."
    folders = [Path(lists)] if lists else [source/'data_splits'/'split_1', source/'data_splits']
    tried = [folder/name for folder in folders for name in (f'{split}_per10.txt', f'{split}.txt')]
    for file in tried:
        if file.is_file(): return file
    raise FileNotFoundError(f'no list of the split {split}: looked for {", ".join(map(str, tried))}; '
                            f'get it from {OFFICIAL}, or name its folder with --lists')


def sequences_of(videos):
    "Runs of consecutive frames, cut to the length of a sequence: names of frames. `videos`: {video: numbers of its frames}"
    for video, numbers in videos.items():
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            run = [f'{video}_{number:06d}' for _, number in run]
            yield from (run[i:i + LENGTH] for i in range(0, len(run), LENGTH))


def find_sequences(
    source:Path,                  # folder of the archive
    split:str,                    # 'train', 'val' or 'test'
    file:Path,                    # its list
    published:tuple[int, int],    # videos, sequences
) -> tuple[dict[str, list[str]], list[str]]: # {clip: names of its 30 frames} where all is there, and a line for everything that is not
    "The one-second sequences of a split, cut from runs of consecutive frames."
    found, short, lost, videos = {}, [], [], read_list(file)
    for frames in sequences_of(videos):
        wanted = [file for name in frames for file in (f'images_orig/{name}.jpg', f'labels_orig/{name}.png')]
        missing = [file for file in wanted if not (source/file).is_file()]
        if len(frames) < LENGTH: short.append(f'{frames[0]} has {len(frames)}')
        elif missing: lost.append(f'{frames[0]} (without {and_more(missing)})')
        else: found[frames[0]] = frames
    named = sum(map(len, videos.values()))
    faults = [f'{split}: {file} names {count} {what}, {right} are published' for what, count, right in (
              ('videos', len(videos), published[0]), ('frames', named, published[1]*LENGTH)) if count != right]
    if short: faults.append(f'{split}: {len(short)} sequences do not have {LENGTH} consecutive frames: {and_more(short)}')
    if lost: faults.append(f'{split}: {len(lost)} of {len(found) + len(lost)} sequences lack files: {and_more(lost)}')
    return found, faults


def read_label(
    path:Path,              # picture of ids or, as the public script writes it, of colours
    shape:tuple[int, int],  # (H, W) of its frame
    ids:list[int],          # the values that mean background, skin, eyes, outer mouth, inner mouth
) -> np.ndarray:            # (H,W) uint8, 255 = ignore
    "One label. Raises `ValueError` on a broken picture, another size or an unknown value."
    try: label = np.array(Image.open(path))                            # of a palette picture the indices
    except OSError: raise ValueError(f'{path} cannot be decoded: it is empty, broken or cut short') from None
    if label.shape[:2] != shape: raise ValueError(f'{path} is {label.shape[0]}×{label.shape[1]}, its frame is {shape[0]}×{shape[1]}')
    if label.ndim == 3:
        code = label[..., :3].astype(int) @ (0x10000, 0x100, 1)
        if unknown := sorted(set(np.unique(code).tolist()) - set(SCRIPT_COLORS)):
            known = ', '.join(f'#{c:06x}' for c in SCRIPT_COLORS)
            raise ValueError(f'{path} holds the colour #{unknown[0]:06x}; labels hold ids, or the colours {known}')
        return sum((code == c)*np.uint8(k) for c, k in SCRIPT_COLORS.items())
    if label.dtype != np.uint8: raise ValueError(f'{path} is {label.dtype}; label ids have 8 bits')
    table = np.full(256, UNKNOWN, np.uint8)
    table[IGNORE], table[ids] = IGNORE, range(len(ids))
    mapped = table[label]
    if (mapped == UNKNOWN).any():
        raise ValueError(f'{path} holds the value {label[mapped == UNKNOWN][0]}; '
                         f'labels hold {", ".join(map(str, ids))} (--ids) and {IGNORE} for ignore')
    return mapped


def centred(image, size, **border):
    "The picture in the middle of a larger one of `size` (H, W)."
    (top, left), (more, wide) = ((size[i] - image.shape[i])//2 for i in (0, 1)), (size[i] - image.shape[i] for i in (0, 1))
    return cv2.copyMakeBorder(image, top, more - top, left, wide - left, **border)


def write_sequence(
    source:Path,                # folder of the archive
    frames:list[str],           # names of the 30 frames
    clip:Path,                  # folder to make
    size:tuple[int, int]|None,  # (H, W) or None
    ids:list[int],              # as for `read_label`
) -> bool: # whether the frames are of different sizes, and padded
    "Put one sequence and its labels into a clip. Raises `ValueError` naming the file that is broken."
    for kind in ('frames', 'labels'): (clip/kind).mkdir(parents=True)
    files = [source/'images_orig'/f'{name}.jpg' for name in frames]
    images = [read_image(file) for file in files]
    largest = tuple(np.max([image.shape[:2] for image in images], 0).tolist())
    padded = size is None and any(image.shape[:2] != largest for image in images)
    for name, file, image in zip(frames, files, images):
        number = name.split('_')[1]
        label = read_label(source/'labels_orig'/f'{name}.png', image.shape[:2], ids)
        if size is not None:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
            label = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        elif padded:
            image = centred(image, largest, borderType=cv2.BORDER_REPLICATE)
            label = centred(label, largest, borderType=cv2.BORDER_CONSTANT, value=IGNORE)
        if size is None and not padded: link(file, clip/'frames'/f'{number}.jpg')
        else: write_image(clip/'frames'/f'{number}.png', image)
        write_image(clip/'labels'/f'{number}.png', label)
    return padded


def labelled_names(
    names:list[str],           # the clips of train
    labelled:float|str|Path,   # share in 0..1, or a file that names a clip a line
) -> tuple[str, list[str], str]: # name of the split, its clips, and where they come from
    "Which sequences keep their labels in the semi-supervised setting. Raises `ValueError` naming the line of the file, or the share."
    try: share = float(str(labelled))
    except ValueError: share = None
    if share is None:
        listed = {}
        for n, line in enumerate(Path(labelled).read_text(encoding='utf-8').splitlines(), 1):
            if not (name := line.strip()): continue
            if name not in names:
                raise ValueError(f"{labelled}, line {n}: train has no sequence '{name}' (they are named after their first frame)")
            if name in listed: raise ValueError(f'{labelled}, line {n}: {name} is named before, in line {listed[name]}')
            listed[name] = n
        if not listed: raise ValueError(f'{labelled} names none of the {len(names)} sequences of train')
        return 'train_listed', sorted(listed), f'listed in {Path(labelled).name}'
    if not 0 <= share < 1: raise ValueError(f'--labelled {labelled}: a share is from 0 to below 1')
    drawn = sorted(names, key=lambda name: hashlib.sha256(f'{SEED} {name}'.encode()).digest())
    count = max(1, round(share*len(names))) if share else 0
    return f'train_{100*share:g}', sorted(drawn[:count]), f'{share:g} of train, drawn with seed {SEED}'


def write_links(
    folder:Path,        # of the split to make
    train:Path,         # the finished split train
    names:list[str],    # its clips to take
    kinds:list[str],    # 'frames', or 'frames' and 'labels'
):
    "Make a split of clips of another."
    for name in names:
        for kind in kinds:
            (folder/name/kind).mkdir(parents=True)
            for file in (train/name/kind).iterdir(): link(file, folder/name/kind/file.name)


def check_ids(ids:list[int]):
    "Raises `ValueError` unless every class has a value of its own."
    if len(set(ids)) == len(FaceWorld.classes) and all(0 <= i < UNKNOWN for i in ids): return
    raise ValueError(f'--ids {" ".join(map(str, ids))}: '
                     f'five different values from 0 to {UNKNOWN - 1} are needed, for {", ".join(FaceWorld.classes)}')


def find_all(source:Path, counts:dict, lists:str|Path|None) -> tuple[dict, list[str]]:
    "{split: its sequences}, and what is missing. Raises `ValueError` for a video that is in two splits."
    plan, missing, owner = {}, [], {}
    for split, published in counts.items():
        plan[split], faults = find_sequences(source, split, find_list(source, split, lists), published)
        missing += faults
        for video in sorted({name[:3] for name in plan[split]}):
            if owner.setdefault(video, split) != split: raise ValueError(f'video {video} is in the lists of {owner[video]} and of {split}')
    return plan, missing


def report(missing:list[str], source:Path, partial:bool):
    "List what is missing. Raises `ValueError` unless that is accepted."
    for fault in missing: print(f'vw300: {fault}', file=sys.stderr)
    if not missing or partial: return
    more = f' (and {len(missing) - 1} more, listed above)' if missing[1:] else ''
    raise ValueError(f'{source} is not complete: {missing[0]}{more}; --partial goes on with what is there')


def convert(
    source:str|Path,                     # the folder 300VW-Mask-Dataset
    target:str|Path,                     # the clip folder to make; it must not exist yet
    size:tuple[int, int]|None=None,      # (H, W) of a resized copy: area average for frames, nearest for labels
    lists:str|Path|None=None,            # folder of other lists
    ids:list[int]=(0, 1, 2, 3, 4),       # values of background, skin, eyes, outer mouth, inner mouth in the label pictures
    labelled:float|str|Path=.1,          # share of train that keeps its labels in the semi-supervised setting, or a file; 0: no such splits
    partial:bool=False,                  # go on with what is there
    counts:dict=COUNTS,                  # published videos and sequences of every split
) -> ClipFolder: # splits train, val, test and, for the semi-supervised setting, train_10 and train_rest
    "Turn 300VW-Mask into a clip folder. Raises `FileNotFoundError` or `ValueError` in one line; then nothing is left behind."
    source, target, ids = Path(source), Path(target), list(ids)
    if missing := [name for name in ('images_orig', 'labels_orig') if not (source/name).is_dir()]:
        raise FileNotFoundError(f'{source} is not the folder 300VW-Mask-Dataset: it lacks {", ".join(missing)}; get it from {OFFICIAL}')
    check_ids(ids)
    plan, missing = find_all(source, counts, lists)
    report(missing, source, partial)
    for split, sequences in plan.items():
        if not sequences: raise ValueError(f'{source} holds no complete sequence of {split}')
    part, names, origin = labelled_names(sorted(plan['train']), labelled)

    with atomic_folder(target) as temporary:
        jobs = [(split, name, frames) for split, sequences in plan.items() for name, frames in sequences.items()]
        pool = ThreadPoolExecutor()
        written = pool.map(lambda job: write_sequence(source, job[2], temporary/job[0]/job[1], size, ids), jobs)
        try: padded = sum(tqdm(written, total=len(jobs), desc='300VW-Mask', unit='clip', delay=1))
        finally: pool.shutdown(cancel_futures=True)   # before the folder is removed
        splits = {split: dict(fps=FPS, video=True, protocol=f'sequences of {LENGTH} frames, all labelled') for split in plan}
        if names:
            rest = sorted(plan['train'].keys() - set(names))
            write_links(temporary/part, temporary/'train', names, ['frames', 'labels'])
            write_links(temporary/'train_rest', temporary/'train', rest, ['frames'])
            splits |= {part: splits['train'] | dict(protocol=f'{len(names)} sequences, {origin}: labelled'),
                       'train_rest': splits['train'] | dict(protocol=f'the other {len(rest)} sequences of train, without labels')}
        write_dataset_info(
            temporary, name='300VW-Mask', classes=FaceWorld.classes, colors=FaceWorld.colors, fps=FPS, splits=splits, missing=missing,
            source='Wang, Luo, Shen, Pantic: Face mask extraction in video sequence (2019)', licence='research use, as 300VW',
            made_by='data_scripts/vw300.py' + (f' --size {size[0]} {size[1]}' if size else ''), label_ids=ids,
            padded=f'{padded} of {len(jobs)} sequences: their frames differ in size, and lie centred on the largest')
        ClipFolder(temporary).validate()
    return ClipFolder(target)


def main(arguments=None):
    "The command line."
    parser = argparse.ArgumentParser(description='300VW-Mask (official layout) to a clip folder.')
    parser.add_argument('source', help='folder with images_orig/ labels_orig/ data_splits/')
    parser.add_argument('target', nargs='?', default=root()/'data'/'vw300', help='clip folder to make (default: data/vw300)')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='resized copy, for example 256 256 (default: as it is)')
    parser.add_argument('--lists', metavar='FOLDER', help='folder of train.txt, val.txt, test.txt (default: those of the archive)')
    parser.add_argument('--ids', nargs=5, type=int, default=[0, 1, 2, 3, 4], metavar='ID',
                        help='values of background, skin, eyes, outer and inner mouth in the labels (default: 0 1 2 3 4)')
    parser.add_argument('--labelled', default='0.1',
                        help='share of train with labels in the semi-supervised setting, or a file of clip names (default: 0.1)')
    parser.add_argument('--partial', action='store_true', help='go on with what is there, and record what is missing')
    options = vars(parser.parse_args(arguments))
    if options['size'] and min(options['size']) < 1: parser.error('--size takes two positive numbers')
    try: folder = convert(options.pop('source'), options.pop('target'), tuple(options.pop('size') or ()) or None, **options)
    except (ValueError, OSError) as error: raise SystemExit(f'vw300: {error}') from None
    for split in folder.splits:
        clips = folder.clips(split)
        print(f'{split:12} {len(clips)} clips, {sum(map(len, clips))} frames, {sum(len(clip.labelled) for clip in clips)} labels')
    if missing := folder.info['missing']: print(f'incomplete: dataset.json lists what is missing: {and_more(missing, show=1)}')


if __name__ == '__main__': main()
