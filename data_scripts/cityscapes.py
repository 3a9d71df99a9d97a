"""Cityscapes to a clip folder, with its video.

    python data_scripts/cityscapes.py ROOT [TARGET] [--size 512 1024] [--splits train val] [--images-only] [--coarse]
                                      [--partial] [--tc-list FILE]

ROOT is the folder where the packages of https://www.cityscapes-dataset.com lie unpacked, with their own layout
(`leftImg8bit_sequence/train/aachen/aachen_000000_000000_leftImg8bit.png`). TARGET gets up to five splits:

    train, val, test   2975, 500 and 1525 clips: the snippets of 30 frames at 17 fps of `leftImg8bit_sequence` (324 GB). A clip is named
                       after its labelled frame, the 20th: frames/000019.png, with labels/000019.png from `gtFine`. The labels of
                       test are not public (its gtFine are dummies): it has none
    val_tc             100 clips of val, on which temporal consistency is measured; TARGET/tc_snippets.txt names them
    train_extra        19997 single images of `leftImg8bit/train_extra`, where that folder is: unlabelled, as the paper uses them, or
                       with `--coarse` labelled by `gtCoarse`

Frames are linked (hard link, else symbolic link, else copy) unless `--size` asks for a smaller copy. Labels are rewritten: the 19 classes
of the benchmark are 0–18, everything else is 255. The images of every city are counted, and the frames of every snippet. What is missing
is listed and nothing is written, unless `--partial` leaves the incomplete snippets out and records it in dataset.json. `--images-only`
makes clips of the labelled frame alone, from `leftImg8bit`: enough for mIoU, not for video. A split is written whole or not at all;
the same command goes on where it was.

Which frames can have pseudo labels. The paper makes them on the "20K coarsely annotated video frames, train-extra". These are one image
every 20 s or 20 m of driving (the Cityscapes paper, section 2.1): their numbers follow one another, but they are not neighbours. No
package has the video around them: leftImg8bit_sequence_trainvaltest.zip is "30-frame snippets (17Hz) surrounding each left 8-bit image
(-19 | +10) from the train, val, and test sets". So train_extra serves single frames only; video for triplets with pseudo labels is the
29 unlabelled frames around each label of train. The image troisdorf_000000_000073 of train_extra is black and left out.

The paper's list of snippets for TC is data/list/cityscapes/val_video_list_sam.lst of its public repository,
irfanICMLL/ETC-Real-time-Per-frame-Semantic-video-segmentation. That has no licence, so the list is not repeated here, but `--tc-list` reads
the file as it is. It names 108 of the 500 snippets (3240 frames), drawn without a seed, where the article says 100 (3000 frames). Without
`--tc-list` the list is ours: the 100 snippets whose names hash lowest under a fixed seed.
"""
import argparse
import hashlib
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from vidseg.data.clips import ClipFolder, write_dataset_info
from vidseg.data.images import read_image, write_image
from vidseg.workspace import atomic_folder, atomic_write, and_more, link, root

OFFICIAL = 'https://www.cityscapes-dataset.com'
LENGTH, LABELLED, FPS = 30, 19, 17   # frames of a snippet, index of the labelled one, frames per second
PACKAGES = {'leftImg8bit_sequence': 'leftImg8bit_sequence_trainvaltest.zip', 'leftImg8bit': 'leftImg8bit_trainvaltest.zip',
            'gtFine': 'gtFine_trainvaltest.zip', 'gtCoarse': 'gtCoarse.zip', 'leftImg8bit/train_extra': 'leftImg8bit_trainextra.zip'}
ENDINGS = {'leftImg8bit_sequence': '_leftImg8bit.png', 'leftImg8bit': '_leftImg8bit.png', 'gtFine': '_gtFine_labelIds.png',
           'gtCoarse': '_gtCoarse_labelIds.png'}
CLASSES = {   # name: (label id, colour), in the order of the train ids
    'road': (7, (128, 64, 128)), 'sidewalk': (8, (244, 35, 232)), 'building': (11, (70, 70, 70)), 'wall': (12, (102, 102, 156)),
    'fence': (13, (190, 153, 153)), 'pole': (17, (153, 153, 153)), 'traffic light': (19, (250, 170, 30)),
    'traffic sign': (20, (220, 220, 0)), 'vegetation': (21, (107, 142, 35)), 'terrain': (22, (152, 251, 152)), 'sky': (23, (70, 130, 180)),
    'person': (24, (220, 20, 60)), 'rider': (25, (255, 0, 0)), 'car': (26, (0, 0, 142)), 'truck': (27, (0, 0, 70)),
    'bus': (28, (0, 60, 100)), 'train': (31, (0, 80, 100)), 'motorcycle': (32, (0, 0, 230)), 'bicycle': (33, (119, 11, 32))}
IGNORE, UNKNOWN = 255, 254
TRAIN_IDS = np.full(256, UNKNOWN, np.uint8)   # label id → train id
TRAIN_IDS[[*range(34), -1]] = IGNORE          # -1, the licence plate, is 255 in a picture
TRAIN_IDS[[label_id for label_id, _ in CLASSES.values()]] = range(len(CLASSES))

COUNTS = {   # published labelled images of each city: 2975, 500, 1525 and 19998 less the black one
    'train': dict(aachen=174, bochum=96, bremen=316, cologne=154, darmstadt=85, dusseldorf=221, erfurt=109, hamburg=248, hanover=196,
                  jena=119, krefeld=99, monchengladbach=94, strasbourg=365, stuttgart=196, tubingen=144, ulm=95, weimar=142, zurich=122),
    'val': dict(frankfurt=267, lindau=59, munster=174),
    'test': dict(berlin=544, bielefeld=181, bonn=46, leverkusen=58, mainz=298, munich=398),
    'train_extra': {'augsburg': 1504, 'bad-honnef': 97, 'bamberg': 445, 'bayreuth': 855, 'dortmund': 1112, 'dresden': 422, 'duisburg': 825,
                    'erlangen': 265, 'freiburg': 847, 'heidelberg': 1201, 'heilbronn': 730, 'karlsruhe': 1152, 'konigswinter': 118,
                    'konstanz': 1527, 'mannheim': 1181, 'muhlheim-ruhr': 1224, 'nuremberg': 1485, 'oberhausen': 903, 'saarbrucken': 554,
                    'schweinfurt': 710, 'troisdorf': 137, 'wuppertal': 1081, 'wurzburg': 1622}}
BLACK = 'troisdorf_000000_000073'
TC_SNIPPETS, TC_SEED = 100, 0


class Snippet(NamedTuple):
    "What becomes one clip."
    name: str            # <city>_<sequence>_<number of the labelled frame>
    frames: list[Path]   # all of the snippet, or the labelled one alone
    label: Path|None     # picture of label ids


def picture(source, tree, split, name):
    "Path of one picture: ROOT/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    return source/tree/split/name.split('_')[0]/f'{name}{ENDINGS[tree]}'


def package(tree, split):
    "Name of the official package that holds one split of one tree."
    return PACKAGES.get(f'{tree}/{split}', PACKAGES[tree])


def names_in(
    folder:Path,  # one split of one tree, ROOT/leftImg8bit/train; it may be absent
    ending:str,   # '_leftImg8bit.png'
) -> set[str]:    # {'aachen_000000_000019', …}
    "Names of the pictures of all cities. Files that are not named like one are passed over."
    cities = [city for city in folder.iterdir() if city.is_dir()] if folder.is_dir() else []
    return {file[:-len(ending)] for city in cities for file in os.listdir(city)
            if re.fullmatch(rf'{re.escape(city.name)}_\d{{6}}_\d{{6}}{re.escape(ending)}', file)}


def snippets_of(
    names:list[str],     # labelled images of a city
    there:dict,          # tree → names of its pictures
    pictures:str,        # tree of the frames
    labels:str|None,     # tree of the labels; None: clips have none
    folder:tuple,        # (source, split), as for `picture`
) -> tuple[list[Snippet], list[str], list[str]]: # the complete ones; those that lack frames, with their names; those that lack their label
    "The snippets of a city. That of `city_seq_n` is n-19 … n+10; from single images, n alone."
    found, short, unlabelled = [], [], []
    for name in names:
        frames = [name]
        if pictures == 'leftImg8bit_sequence': frames = [f'{name[:-6]}{int(name[-6:]) - LABELLED + i:06d}' for i in range(LENGTH)]
        source, split = folder
        lost = [frame for frame in frames if frame not in there[pictures]]
        if lost: short.append(f'{name} (without {and_more(lost)})')
        elif labels and name not in there[labels]: unlabelled.append(name)
        else:
            label = picture(source, labels, split, name) if labels else None
            found.append(Snippet(name, [picture(source, pictures, split, frame) for frame in frames], label))
    return found, short, unlabelled


def by_city(names, cities):
    "{city: its labelled images}, with those that are published first."
    found = {city: [] for city in cities}
    for name in sorted(names): found.setdefault(name.split('_')[0], []).append(name)
    return found


def trees_of(split, video, coarse):
    "Which trees the frames and the labels of a split are in; None where it has no labels."
    labels = {'train': 'gtFine', 'val': 'gtFine', 'train_extra': 'gtCoarse' if coarse else None}.get(split)
    return 'leftImg8bit_sequence' if video else 'leftImg8bit', labels


def find_snippets(
    source:Path,        # folder of the unpacked packages
    split:str,          # 'train', 'val', 'test' or 'train_extra'
    published:dict,     # number of labelled images of each city
    video:bool=True,    # snippets of leftImg8bit_sequence; False: single images of leftImg8bit
    coarse:bool=False,  # labels for train_extra
) -> tuple[list[Snippet], list[str]]: # the complete ones by name, and a line for everything that is missing or superfluous
    "What one split has. Where the whole tree of labels is absent, clips have none."
    pictures, labels = trees_of(split, video, coarse)
    there = {tree: names_in(source/tree/split, ending) for tree, ending in ENDINGS.items()}
    named = (there['leftImg8bit'] | there['gtFine'] | there['gtCoarse']) - {BLACK}
    absent = [tree for tree in filter(None, (pictures, labels)) if not there[tree]]
    faults = [f'{split}: {source}/{tree}/{split} is absent or empty ({package(tree, split)})' for tree in absent]
    if video and not named: faults.append(f'{split}: leftImg8bit or gtFine must be there too: they tell which frames are labelled')
    if pictures in absent or not named: return [], faults
    if labels in absent: labels = None
    snippets = []
    for city, names in by_city(named, published).items():
        found, short, unlabelled = snippets_of(names, there, pictures, labels, (source, split))
        snippets += found
        count, of = published.get(city, 0), f'of {len(names)} lack'
        if len(names) != count: faults.append(f'{split}/{city}: {len(names)} labelled images are named, {count} are published')
        if short: faults.append(f'{split}/{city}: {len(short)} {of} frames in {pictures}: {and_more(short)}')
        if unlabelled: faults.append(f'{split}/{city}: {len(unlabelled)} {of} their label in {labels}: {and_more(unlabelled)}')
    return sorted(snippets), faults


def clip_names(split):
    "Names of the clips of a finished split."
    return sorted(clip.name for clip in split.iterdir() if clip.is_dir())


def tc_names(
    names:list[str],              # the snippets of val
    tc_list:str|Path|None=None,   # a file that names one snippet a line, in any spelling that contains its name; None: ours
    partial:bool=False,           # leave out those that are not in val
) -> tuple[list[str], str]:       # sorted, and where they come from
    "The snippets on which TC is measured. Ours depend on nothing but the names. Raises `ValueError` naming line and snippet."
    if tc_list is None:
        drawn = sorted(names, key=lambda name: hashlib.sha256(f'{TC_SEED} {name}'.encode()).digest())[:TC_SNIPPETS]
        return sorted(drawn), f'{len(drawn)} snippets of val, drawn with seed {TC_SEED}; not the list of the paper'
    listed = {}
    for n, line in enumerate(Path(tc_list).read_text(encoding='utf-8').splitlines(), 1):
        found = re.search(r'[a-z-]+_\d{6}_\d{6}', line)
        if found: listed.setdefault(found[0], n)
        elif line.strip(): raise ValueError(f"{tc_list}, line {n}: '{line.strip()}' names no snippet (like frankfurt_000000_001016)")
    lost = [name for name in listed if name not in names]
    if lost and not partial:
        raise ValueError(f"{tc_list}, line {listed[lost[0]]}: val has no snippet '{lost[0]}' (they are named after their labelled frame)")
    chosen = sorted(listed.keys() - set(lost))
    if not chosen: raise ValueError(f'{tc_list} names none of the {len(names)} snippets of val')
    return chosen, f'{len(chosen)} snippets of val, listed in {Path(tc_list).name}' + (f'; {len(lost)} more are missing' if lost else '')


def read_label(
    path:Path,              # picture of label ids
    shape:tuple[int, int],  # (H, W) of its frame
) -> np.ndarray:            # (H,W) uint8 train ids, 255 = ignore
    "One label. Raises `ValueError` on another size or an unknown id."
    label = read_image(path, color=False)
    if label.shape != shape: raise ValueError(f'{path} is {label.shape[0]}×{label.shape[1]}, its frame is {shape[0]}×{shape[1]}')
    if label.dtype != np.uint8: raise ValueError(f'{path} is {label.dtype}; label ids have 8 bits')
    mapped = TRAIN_IDS[label]
    unknown = label[mapped == UNKNOWN]
    if unknown.size: raise ValueError(f'{path} holds the value {unknown[0]}; label ids are 0–33, and 255 for -1')
    return mapped


def png_size(path:Path) -> tuple[int, int]: # (H, W)
    "Size of a png from its header, without decoding it. Raises `ValueError` when it is none or cut short."
    with path.open('rb') as file:
        head = file.read(24)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
        whole = head[:8] == b'\x89PNG\r\n\x1a\n' and b'IEND' in file.read()
    if not whole: raise ValueError(f'{path} is empty, cut short or no png: unpack it anew')
    return int.from_bytes(head[20:24], 'big'), int.from_bytes(head[16:20], 'big')


def write_snippet(
    snippet:Snippet,
    clip:Path,                  # folder to make
    size:tuple[int, int]|None,  # (H, W) or None
):
    "Put the frames and the label of one snippet into a clip. Raises `ValueError` naming the file that is broken or of another size."
    (clip/'frames').mkdir(parents=True)
    first = LABELLED if len(snippet.frames) == 1 else 0
    for i, frame in enumerate(snippet.frames):
        image = None if size is None else read_image(frame)
        shape = png_size(frame) if size is None else image.shape[:2]
        if i == 0: expected = shape
        if shape != expected:
            raise ValueError(f'{frame} is {shape[0]}×{shape[1]}, the first frame of its snippet {expected[0]}×{expected[1]}')
        target = clip/'frames'/f'{first + i:06d}.png'
        if size is None: link(frame, target)
        else: write_image(target, cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))
    if snippet.label is None: return
    ids = read_label(snippet.label, expected)
    if size is not None: ids = cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    (clip/'labels').mkdir()
    write_image(clip/'labels'/f'{LABELLED:06d}.png', ids)


def write_split(
    folder:Path,                # the split to make
    snippets:list[Snippet],
    size:tuple[int, int]|None,  # (H, W) or None
):
    "Write one split whole or not at all, several clips at a time."
    with atomic_folder(folder) as temporary:
        pool = ThreadPoolExecutor()
        written = pool.map(lambda snippet: write_snippet(snippet, temporary/snippet.name, size), snippets)
        try:
            for _ in tqdm(written, total=len(snippets), desc=f'Cityscapes {folder.name}', unit='clip', delay=1): pass
        finally: pool.shutdown(cancel_futures=True)   # before the folder is removed


def write_tc(
    target:Path,       # the clip folder; its val is finished
    names:list[str],   # the snippets on which TC is measured
):
    "Link the snippets of `tc_snippets.txt` into the split val_tc."
    with atomic_folder(target/'val_tc') as temporary:
        for name in names:
            for file in (target/'val'/name).glob('*/*.png'):
                (temporary/name/file.parent.name).mkdir(parents=True, exist_ok=True)
                link(file, temporary/name/file.parent.name/file.name)


def describe(
    split:str,
    size:tuple[int, int]|None,
    images_only:bool,
    coarse:bool,
) -> dict: # fps, video, protocol; and the options with which it is made
    "The entry of a split in dataset.json."
    extra = split == 'train_extra'
    options = [f'--size {size[0]} {size[1]}'] if size else []
    if images_only and not extra: options.append('--images-only')
    if coarse and extra: options.append('--coarse')
    if extra: protocol = f'single images, {"coarse labels" if coarse else "unlabelled"}'
    elif images_only: protocol = 'the labelled image of each snippet alone'
    else: protocol = f'snippets of {LENGTH} frames, ' + ('unlabelled' if split == 'test' else f'the {LABELLED + 1}th labelled')
    video = not extra and not images_only
    return dict(fps=FPS if video else 1, video=video, protocol=protocol, options=' '.join(options))


def finished_splits(
    target:Path, # the clip folder, which may not exist yet
) -> dict:       # {split: its entry in dataset.json}
    "What earlier calls have finished. Raises `ValueError` when `target` is something else."
    if not target.exists() or not any(target.iterdir()): return {}
    if not (target/'dataset.json').is_file() or ClipFolder(target).name != 'Cityscapes':
        raise ValueError(f'{target} exists already and is something else: choose another folder')
    return {split: entry for split, entry in ClipFolder(target).info['splits'].items() if (target/split).is_dir()}


def check_source(source:Path, splits:list[str], images_only:bool):
    "Raises `FileNotFoundError` when `source` is not the folder of the packages, or has no video."
    if not any((source/tree).is_dir() for tree in ENDINGS):
        raise FileNotFoundError(f'{source} is not the Cityscapes folder: it has none of {", ".join(ENDINGS)}; get them from {OFFICIAL}')
    if not images_only and set(splits) != {'train_extra'} and not (source/'leftImg8bit_sequence').is_dir():
        raise FileNotFoundError(f'{source} has no leftImg8bit_sequence ({PACKAGES["leftImg8bit_sequence"]}, 324 GB), so there is no video; '
                                '--images-only makes clips of one frame from leftImg8bit')


def check_options(split:Path, old:str, new:str):
    "A finished split stays as it is. Raises `ValueError` when it was made with other options."
    if old != new: raise ValueError(f"{split} was made with the options '{old}', not '{new}': remove it or choose another")


def report(faults:list[str], source:Path, partial:bool):
    "List what is missing. Raises `ValueError` unless that is accepted."
    for fault in faults: print(f'cityscapes: {fault}', file=sys.stderr)
    if not faults or partial: return
    more = f' (and {len(faults) - 1} more, listed above)' if faults[1:] else ''
    raise ValueError(f'{source} is not complete: {faults[0]}{more}; --partial goes on with what is there, --splits chooses')


def choose_tc(
    target:Path,                # the clip folder
    entries:dict,               # its splits; gets 'val_tc'
    new:list[Snippet]|None,     # those of val, where it is about to be made
    tc_list:str|Path|None,      # as for `tc_names`
    partial:bool,
) -> list[str]: # the snippets for TC; none where val is no video
    "Choose the snippets for TC. Raises `ValueError` when others were chosen before."
    if not entries.get('val', {}).get('video'): return []
    names = clip_names(target/'val') if new is None else [snippet.name for snippet in new]
    tc, protocol = tc_names(names, tc_list, partial)
    if 'val_tc' in entries and (new is not None or tc != clip_names(target/'val_tc')):
        raise ValueError(f'{target/"val_tc"} holds other snippets, or older ones, than are asked for: remove it to choose anew')
    entries.setdefault('val_tc', entries['val'] | dict(protocol=protocol))
    return tc


def convert(
    source:str|Path,                  # folder of the unpacked packages
    target:str|Path,                  # the clip folder to make, or to go on with
    size:tuple[int, int]|None=None,   # (H, W) of a smaller copy: area average for frames, nearest for labels
    splits:list[str]|None=None,       # of train, val, test, train_extra; None: the first three, and the last where it is
    images_only:bool=False,           # the labelled frames alone, from leftImg8bit
    coarse:bool=False,                # give train_extra its labels of gtCoarse
    partial:bool=False,               # go on with what is there
    tc_list:str|Path|None=None,       # file naming the snippets for TC
    counts:dict=COUNTS,               # published labelled images of each split and city
) -> ClipFolder:
    "Turn Cityscapes into a clip folder. Raises `FileNotFoundError` or `ValueError` in one line; then no split is half-written."
    source, target = Path(source), Path(target)
    if not splits:
        splits = ['train', 'val', 'test']
        if (source/'leftImg8bit'/'train_extra').is_dir(): splits.append('train_extra')
    check_source(source, splits, images_only)
    entries, plan, faults = finished_splits(target), {}, []
    for split in splits:
        new = describe(split, size, images_only, coarse)
        if split in entries:
            check_options(target/split, entries[split]['options'], new['options'])
            continue
        snippets, new['missing'] = find_snippets(source, split, counts[split], new['video'], coarse)
        faults += new['missing']
        if snippets: plan[split], entries[split] = snippets, new
    report(faults, source, partial)
    if not entries: raise ValueError(f'{source} holds nothing complete of {", ".join(splits)}')

    tc = choose_tc(target, entries, plan.get('val'), tc_list, partial) if 'val' in splits else []
    missing = list(dict.fromkeys(faults + [fault for entry in entries.values() for fault in entry['missing']]))
    write_dataset_info(
        target, name='Cityscapes', classes=CLASSES, colors=[color for _, color in CLASSES.values()], fps=FPS, splits=entries,
        source='Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding (2016)',
        licence='non-commercial research use, no redistribution', made_by='data_scripts/cityscapes.py', missing=missing)
    for split, snippets in plan.items(): write_split(target/split, snippets, size)
    if tc:
        if not (target/'val_tc').exists(): write_tc(target, tc)
        with atomic_write(target/'tc_snippets.txt', 'w') as file: file.write('\n'.join(tc) + '\n')
    return ClipFolder(target)


def main(arguments=None):
    "The command line."
    parser = argparse.ArgumentParser(description='Cityscapes (official layout) to a clip folder.')
    parser.add_argument('root', help='folder with leftImg8bit_sequence/ leftImg8bit/ gtFine/ and, if wanted, gtCoarse/')
    parser.add_argument('target', nargs='?', default=root()/'data'/'cityscapes', help='clip folder to make (default: data/cityscapes)')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='smaller copy, for example 512 1024 (default: links)')
    parser.add_argument('--splits', nargs='+', choices=list(COUNTS), help='only these (default: all, train_extra where it is)')
    parser.add_argument('--images-only', action='store_true', help='clips of the labelled frame alone, without the sequences')
    parser.add_argument('--coarse', action='store_true', help='give train_extra the labels of gtCoarse (default: unlabelled)')
    parser.add_argument('--partial', action='store_true', help='go on with what is there, and record what is missing')
    parser.add_argument('--tc-list', metavar='FILE', help='validation snippets for TC, one a line (default: 100, with a fixed seed)')
    options = vars(parser.parse_args(arguments))
    if options['size'] and min(options['size']) < 1: parser.error('--size takes two positive numbers')
    try: folder = convert(options.pop('root'), options.pop('target'), tuple(options.pop('size') or ()) or None, **options)
    except (ValueError, OSError) as error: raise SystemExit(f'cityscapes: {error}') from None
    for split in folder.splits:
        clips = folder.clips(split)
        print(f'{split:11} {len(clips)} clips, {sum(map(len, clips))} frames, {sum(len(clip.labelled) for clip in clips)} labels')
    if missing := folder.info['missing']: print(f'incomplete: dataset.json lists what is missing: {and_more(missing, show=1)}')


if __name__ == '__main__': main()
