"""Instances to a clip folder: YouTube-VIS 2019, or any COCO-style JSON file, with tracks or of still images.

    python data_scripts/youtubevis.py SOURCE [TARGET] [--images FOLDER] [--fps 6] [--holdout 10] [--partial]

SOURCE is the folder of the official download of 2019, whose counts are checked:

    train.json   train/JPEGImages/<video>/<frame>.jpg   2238 videos, 4883 things of 40 categories
    valid.json   valid/JPEGImages/…                     302 videos without annotations
    test.json    test/JPEGImages/…                      343 videos without annotations

or one JSON file in its layout or in that of COCO (nbs/1_data/21_coco_tracks.ipynb). Its pictures are looked for in `--images`, else in
<folder of the file>/<its name>/JPEGImages, else beside it. The classes of TARGET are `background` and the categories in the order of the
file; its splits are

    train, val   the videos of train.json, or of the one file. The truth of valid is withheld, so some of train are held out: the videos
                 with annotations of whose names the SHA-256 can be divided by `--holdout`. Where that holds out none or all of them it is
                 the one with the lowest SHA-256, and where there is one video only, the last fifth of its frames. 0 holds out nothing
    valid, test  of the official download, or of a folder like it; with instances where the file has annotations

A clip is a video with `--fps` frames a second; of a file without track ids every image is one. Every frame of a video with annotations
has a map of its instances: a thing without a mask is not seen there. What is in a video without annotations nobody knows. Frames are
linked (hard link, else symbolic link, else copy) and keep their names, which may be numbered with a stride (00000, 00005, …). Where names
do not give the order of the file, or a number is missing between its neighbours, frames are named 000000, 000001, … in that order.

What is not kept is printed and noted in dataset.json: pixels in several masks (the smallest thing has them), crowds, and videos that lack
frames, which `--partial` leaves out; it checks no counts either. dataset.json also has the ids of videos and categories, for results.
"""
import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from vidseg.data.clips import ClipFolder, missing_number, write_dataset_info
from vidseg.data.coco_tracks import CodedVideo, TrackFile, id_map, read_tracks
from vidseg.data.images import IMAGE_SUFFIXES, image_size, is_litter, natural, write_image
from vidseg.data.pictures import distinct_colors
from vidseg.data.tracks import annotated
from vidseg.workspace import and_more, atomic_folder, link, root

OFFICIAL = 'https://youtube-vos.org/dataset/vis'
COUNTS = {'train': 2238, 'valid': 302, 'test': 343, 'things in train': 4883, 'categories': 40}   # published
SPLITS, FPS, HOLDOUT = ('train', 'valid', 'test'), 6, 10
ABOUT = dict(name='YouTube-VIS 2019', source='Yang, Fan, Xu: Video Instance Segmentation (2019)',
             licence='annotations CC BY 4.0; for non-commercial research')


class Source(NamedTuple):
    "A JSON file, and where its pictures are."
    found: TrackFile
    images: Path


def read_source(
    file:Path,
    images:Path|None,  # folder of the pictures; None: as described above
    truth:bool,        # it must have annotations
) -> Source:
    "Read one file. Raises `ValueError` as `read_tracks`."
    beside = file.parent/file.stem/'JPEGImages'
    return Source(read_tracks(file, truth), images or (beside if beside.is_dir() else file.parent))


def find_sources(
    source:Path,       # folder of the official download, or a JSON file
    images:Path|None,  # as for `read_source`
    partial:bool,      # what is there
) -> dict[str, Source]: # 'train', 'valid' and 'test'; of a file: 'train'
    "Read what there is. Raises `FileNotFoundError` for what is missing, `ValueError` as `read_tracks` and for unequal categories."
    if not source.exists(): raise FileNotFoundError(f'no such file or folder: {source}')
    files = {split: source/f'{split}.json' for split in SPLITS} if source.is_dir() else {'train': source}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing and not partial or len(missing) == len(files):
        raise FileNotFoundError(f'{source} lacks {", ".join(missing)}: get it from {OFFICIAL}; --partial takes what is there')
    sources = {split: read_source(file, images, truth=split == 'train') for split, file in files.items() if file.is_file()}
    first, *others = [found for found, _ in sources.values()]
    for found in others:
        if found.categories != first.categories: raise ValueError(f'{found.path} has other categories than {first.path}')
    return sources


def check_counts(sources:dict[str, Source], source:Path, counts:dict):
    "Raises `ValueError` where the official download holds another number of something than is published."
    there = {split: len(found.videos) for split, (found, _) in sources.items()}
    train = sources['train'].found
    there |= {'things in train': sum(len(video.tracks) for video in train.videos), 'categories': len(train.categories)}
    for what, count in counts.items():
        videos = '' if ' ' in what or what == 'categories' else 'videos of '
        if there[what] != count:
            said = f'{source} holds {there[what]} {videos}{what}, {count} are published'
            raise ValueError(f'{said}: get it anew from {OFFICIAL}; --partial takes it as it is')


def rank(
    video:CodedVideo,
) -> int:
    "A number that depends on nothing but the video's name."
    return int(hashlib.sha256(video.name.encode()).hexdigest(), 16)


def cut(
    video:CodedVideo,
    frames:slice,
) -> CodedVideo:
    "Some of the frames of a video, with what is known about them."
    places = {t: n for n, t in enumerate(range(len(video.files))[frames])}
    tracks = {key: track._replace(codes={places[t]: code for t, code in track.codes.items() if t in places})
              for key, track in video.tracks.items()}
    return video._replace(files=video.files[frames], tracks=tracks)


def divide(
    videos:list[CodedVideo],
    holdout:int,             # one in so many; 0: none
) -> dict[str, list[CodedVideo]]: # 'train' and 'val', as described above
    "Hold out some of the videos that have annotations."
    known = [video for video in videos if video.tracks]
    if not holdout or not known: return dict(train=videos)
    if len(videos) == 1:
        at = len(videos[0].files)*4//5
        return dict(train=[cut(videos[0], slice(at))], val=[cut(videos[0], slice(at, None))]) if at else dict(train=videos)
    held = [video.name for video in known if rank(video) % holdout == 0]
    if not held or len(held) == len(videos): held = [min(known, key=rank).name]
    return dict(train=[video for video in videos if video.name not in held], val=[video for video in videos if video.name in held])


def frame_names(
    files:list[str], # of a video, in order
) -> list[str]:      # without suffix
    "What frames are called: as their files, if these names give their order and none is missing; else by their place."
    names = [Path(file).stem for file in files]
    in_order = len(set(names)) == len(names) and names == sorted(names, key=natural) and not any(map(is_litter, names))
    return names if in_order and missing_number(names) is None else [f'{t:06d}' for t in range(len(files))]


def complete(
    source:Source,
    partial:bool,  # leave out the others
) -> tuple[list[CodedVideo], list[str]]: # those with all their frames; a line for each of the others
    "Which videos are all there. Raises `FileNotFoundError` naming the first frame that is not."
    lost = {video.name: [file for file in video.files if not (source.images/file).is_file()] for video in source.found.videos}
    every = [str(source.images/file) for files in lost.values() for file in files]
    if every and not partial: raise FileNotFoundError(f'{source.found.path}: {len(every)} frames are missing: {and_more(every, 1)}')
    faults = [f'{name} (without {and_more(files)})' for name, files in lost.items() if files]
    return [video for video in source.found.videos if not lost[video.name]], faults


def write_video(
    video:CodedVideo,
    source:Source,
    clip:Path,         # folder to make
) -> Counter:          # shared pixels, frames that have some, things that are nowhere the smallest
    "Put a video into a clip. Raises `ValueError` naming the picture, or the annotation, of another size."
    names, (H, W) = frame_names(video.files), video.size
    (clip/'frames').mkdir(parents=True)
    for name, file in zip(names, video.files):
        file = source.images/file
        if file.suffix.lower() not in IMAGE_SUFFIXES: raise ValueError(f'{file} is no png or jpg')
        height, width = image_size(file)
        if (height, width) != (H, W): raise ValueError(f'{file} is {height}×{width}, {source.found.path} says {H}×{W}')
        link(file, clip/'frames'/f'{name}{file.suffix.lower()}')
    told, seen = Counter(), set()
    if not video.tracks: return told
    (clip/'instances').mkdir()
    for t, name in enumerate(names):
        ids, shared = id_map(video, t, str(source.found.path))
        write_image(clip/'instances'/f'{name}.png', ids)
        told.update(pixels=shared, frames=shared > 0)
        seen |= {*np.unique(ids[ids > 0]).tolist()}
    told['hidden'] = sum(bool(track.codes) and n not in seen for n, track in video.tracks.items())
    tracks = {n: video.tracks[n].category for n in sorted(seen)}
    (clip/'tracks.json').write_text(json.dumps(tracks) + '\n', encoding='utf-8')
    return told


def notes_of(
    split:str,
    found:TrackFile,
) -> list[str]:
    "What is left out of a file with annotations, or absent from it."
    things = Counter(track.category for video in found.videos for track in video.tracks.values())
    empty = [name for name in found.categories.values() if not things[name]]
    unknown = [video.name for video in found.videos if not video.tracks]
    notes = []
    if not things: return notes
    if found.crowds: notes.append(f'{split}: {found.crowds} crowd regions are left out')
    if empty: notes.append(f'{split}: no instance of {and_more(empty)}')
    if unknown: notes.append(f'{split}: {len(unknown)} videos have no annotations: {and_more(unknown)}')
    return notes


def overlap_of(
    split:str,
    count:Counter, # of `write_video`
) -> str:
    "What became of pixels that are in several masks."
    said = f'{split}: {count["pixels"]} pixels of {count["frames"]} frames are in several masks: the smallest thing has them'
    return said + (f'; {count["hidden"]} things are never seen for that' if count['hidden'] else '')


def describe(
    split:str,
    videos:list[CodedVideo],
    holdout:int,
    still:bool,
) -> dict: # protocol, video, video_ids
    "The entry of a split in dataset.json."
    what = 'images' if still else 'videos'
    side = {'val': 'held out', 'train': 'not held out'}.get(split) if holdout else None
    protocol = f'{what} of train, {side} (--holdout {holdout})' if side else f'{what} of {split}'
    return dict(protocol=protocol, video=not still, video_ids={video.name: video.id for video in videos})


def plan_of(
    sources:dict[str, Source],
    holdout:int,
    partial:bool,
) -> tuple[list, dict]: # (split, video, its source) of every clip; what dataset.json says: splits, notes, missing
    "What becomes a clip of which split. Raises `FileNotFoundError` as `complete`."
    plan, said = [], dict(splits={}, notes=[], missing=[])
    for split, one in sources.items():
        there, lost = complete(one, partial)
        said['missing'] += [f'{split}/{fault}' for fault in lost]
        said['notes'] += notes_of(split, one.found)
        for part, videos in (divide(there, holdout) if split == 'train' else {split: there}).items():
            said['splits'][part] = describe(part, videos, holdout, one.found.still)
            plan += [(part, video, one) for video in videos]
    return plan, said


def convert(
    source:str|Path,           # folder of the official download, or a JSON file
    target:str|Path,           # the clip folder to make; it must not exist yet
    images:str|Path|None=None, # folder of the pictures; None: as described above
    fps:float=FPS,             # of the videos
    holdout:int=HOLDOUT,       # one video of train in so many goes to val; 0: none
    partial:bool=False,        # check no counts, and leave out videos that lack frames
    counts:dict=COUNTS,        # published
) -> ClipFolder:               # splits train, val, valid, test, as far as they are there
    "Turn a data set into a clip folder. Raises `FileNotFoundError` or `ValueError` in one line; then nothing is left behind."
    source, target = Path(source), Path(target)
    sources = find_sources(source, images and Path(images), partial)
    if source.is_dir() and not partial: check_counts(sources, source, counts)
    about = ABOUT if source.is_dir() and not partial else dict(name=source.stem, source=source.name)
    plan, said = plan_of(sources, holdout, partial)
    if not plan: raise ValueError(f'{source} holds no video with all its frames')

    names = plan[0][2].found.categories
    told = {split: Counter() for split in said['splits']}
    with atomic_folder(target) as temporary:
        for split, video, one in tqdm(plan, desc=about['name'], unit='clip', delay=1):
            told[split] += write_video(video, one, temporary/split/video.name)
        said['notes'] += [overlap_of(split, count) for split, count in told.items() if count['pixels']]
        write_dataset_info(
            temporary, classes=['background', *names.values()], colors=[[0, 0, 0], *distinct_colors(len(names)).tolist()],
            fps=fps, made_by='data_scripts/youtubevis.py', category_ids={name: key for key, name in names.items()}, **about, **said)
    return ClipFolder(target)


def main(arguments=None):
    "The command line."
    parser = argparse.ArgumentParser(description='YouTube-VIS 2019, or a COCO-style JSON file, to a clip folder with instances.')
    parser.add_argument('source', type=Path, help='folder with train.json, valid.json and test.json; or one JSON file')
    parser.add_argument('target', nargs='?', type=Path, help='clip folder to make (default: data/youtubevis, or data/<name of the file>)')
    parser.add_argument('--images', metavar='FOLDER', help='of the pictures (default: <name of the file>/JPEGImages, else beside it)')
    parser.add_argument('--fps', type=float, default=FPS, help=f'frames per second of the videos (default: {FPS})')
    parser.add_argument('--holdout', type=int, default=HOLDOUT, metavar='N', help=f'hold out one video in N (default: {HOLDOUT}; 0: none)')
    parser.add_argument('--partial', action='store_true', help='check no counts, leave out videos that lack frames, and record which')
    options = vars(parser.parse_args(arguments))
    if not 0 < options['fps'] < float('inf'): parser.error('--fps takes a number above 0')
    if options['holdout'] < 0 or options['holdout'] == 1: parser.error('--holdout takes 0, or a number above 1')
    source, target = options.pop('source'), options.pop('target')
    try: folder = convert(source, target or root()/'data'/('youtubevis' if source.is_dir() else source.stem), **options)
    except (ValueError, OSError) as error: raise SystemExit(f'youtubevis: {error}') from None
    for split in folder.splits:
        clips = folder.clips(split)
        known, tracks = sum(len(annotated(clip)) for clip in clips), sum(len(clip.tracks) for clip in clips)
        print(f'{split:6} {len(clips)} clips, {sum(map(len, clips))} frames, {known} with instances, {tracks} tracks')
    for note in folder.info['notes']: print(note)
    if missing := folder.info['missing']: print(f'left out: {len(missing)} videos that lack frames: {and_more(missing, 1)}')


if __name__ == '__main__': main()
