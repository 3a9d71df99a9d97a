"""One video, with a picture of numbers for each of its frames, to a clip folder in two halves.

    python data_scripts/one_video.py VIDEO MASKS [TARGET] [--category person] [--only 1 3 …] [--classes person dog …] [--apart 4] …

VIDEO is a file, or a folder of pictures as JPEGImages/480p/<video> of DAVIS (https://davischallenge.org). MASKS is a folder with one PNG
for each frame, in order, as Annotations/480p/<video> there: 0 where there is nothing, else the number of a thing, which it keeps through
the video. Those that are kept (`--only`; default: all) are of one category, one of the classes.

TARGET (default: data/<name of VIDEO>) gets two splits of one clip each:

    half_a, half_b   the first and the second half, every frame with its instances; the `--apart` frames between are left out.
                     Networks are trained on one and tested on the other: the same things, at another time
"""
import argparse
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from vidseg.data.clips import ClipFolder, write_clip, write_dataset_info
from vidseg.data.images import image_files, read_image
from vidseg.data.pictures import distinct_colors
from vidseg.data.video import Video
from vidseg.workspace import atomic_folder, root

APART = 4
HALF = 'half of the frames, all annotated: it is trained on, or tested on'


def read_masks(
    folder:Path,
    only:list[int]|None, # numbers of the things that are kept; None: all
) -> list[np.ndarray]: # (H,W) uint8 or uint16: of every picture, in order
    "The numbers of things. Raises `FileNotFoundError`, and `ValueError` where one is nowhere."
    if not folder.is_dir(): raise FileNotFoundError(f'no such folder of masks: {folder}')
    masks = [read_image(file, color=False) for file in image_files(folder)]
    there = sorted({int(n) for mask in masks for n in np.unique(mask)} - {0})
    if not there: raise ValueError(f'{folder}: no mask holds a number above 0')
    if strange := sorted(set(only or there) - set(there)): raise ValueError(f'{folder}: no mask holds {strange[0]}; there are {there}')
    return [np.where(np.isin(mask, only or there), mask, 0).astype(mask.dtype) for mask in masks]


def convert(
    video:str|Path,         # a video file, or a folder of pictures
    masks:str|Path,         # a folder of one picture of numbers for each frame
    target:str|Path,        # the clip folder to make; it must not exist yet
    category:str='person',  # what the things are
    only:list|None=None,    # numbers of the things that are kept; None: all
    classes:list|None=None, # what a network is to tell apart; None: the category alone
    apart:int=APART,        # frames between the halves
    size:tuple|None=None,   # (H, W) of a smaller copy: area average for frames, nearest for masks
) -> ClipFolder: # splits half_a and half_b
    "Make the clip folder. Raises `FileNotFoundError` or `ValueError` in one line; then nothing is left behind."
    target, classes = Path(target), list(classes or [category])
    if category not in classes: raise ValueError(f"category '{category}' is not one of the classes: {', '.join(classes)}")
    numbers, pictures = read_masks(Path(masks), only), Video(video, size=size)
    frames = list(tqdm(pictures, desc=Path(video).name, total=pictures.expected, unit='frame', delay=1))
    if len(numbers) != len(frames): raise ValueError(f'{masks} holds {len(numbers)} masks, {video} has {len(frames)} frames')
    if size: numbers = [cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) for mask in numbers]
    first = (len(frames) - apart)//2
    if apart < 0 or first < 2: raise ValueError(f'{video}: {len(frames)} frames do not make two halves that are {apart} apart')
    with atomic_folder(target) as temporary:
        write_dataset_info(
            temporary, name=Path(video).stem, classes=['background', *classes], colors=[[0, 0, 0], *distinct_colors(len(classes))],
            fps=pictures.fps, splits=dict(half_a=dict(protocol=f'the first {HALF}'), half_b=dict(protocol=f'the second {HALF}')),
            made_by=f'data_scripts/one_video.py --category {category} --apart {apart}')
        for split, part in dict(half_a=slice(first), half_b=slice(first + apart, None)).items():
            things = sorted({int(n) for mask in numbers[part] for n in np.unique(mask[mask > 0])})
            write_clip(temporary/split/Path(video).stem, frames[part], instances=numbers[part], tracks=dict.fromkeys(things, category))
        ClipFolder(temporary).validate()
    return ClipFolder(target)


def main(arguments=None):
    "The command line."
    parser = argparse.ArgumentParser(description='One video with masks of its things to a clip folder of two halves.')
    parser.add_argument('video', help='a video file, or a folder of pictures')
    parser.add_argument('masks', help='a folder with a picture of numbers for each frame')
    parser.add_argument('target', nargs='?', help='clip folder to make (default: data/<name of the video>)')
    parser.add_argument('--category', default='person', help='what the things are (default: person)')
    parser.add_argument('--only', nargs='+', type=int, help='numbers of the things that are kept (default: all)')
    parser.add_argument('--classes', nargs='+', help='what a network is to tell apart (default: the category alone)')
    parser.add_argument('--apart', type=int, default=APART, help=f'frames between the halves (default: {APART})')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='smaller copy, for example 240 432')
    options = parser.parse_args(arguments)
    if options.size and min(options.size) < 1: parser.error('--size takes two positive numbers')
    target = options.target or root()/'data'/Path(options.video).stem
    try: folder = convert(options.video, options.masks, target, options.category, options.only, options.classes, options.apart,
                           tuple(options.size) if options.size else None)
    except (ValueError, OSError) as error: raise SystemExit(f'one_video: {error}') from None
    for split in folder.splits:
        [clip] = folder.clips(split)
        print(f'{split}: {len(clip)} frames, {len(clip.tracks)} things')


if __name__ == '__main__': main()
