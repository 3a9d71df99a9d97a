"trackeval, the field's own tool, says the same of the same files: YouTube-VIS AP and AR, and HOTA."
import json

import numpy as np
import pytest
from pycocotools import mask as coco

from vidseg.metrics.average_precision import official_tracks, track_iou, youtube_vis_ap
from vidseg.metrics.tracking import hota_counts, tracking_numbers

trackeval = pytest.importorskip('trackeval', reason='trackeval is not installed: pip install --no-deps trackeval')
pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings('ignore::DeprecationWarning:pycocotools')]
CATEGORIES = 'car', 'bird', 'boat'
AREAS = 60, 250   # px: where medium and large begin, in frames of 40×64


def compressed(mask):
    "Run lengths as results have them."
    code = coco.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=code['size'], counts=code['counts'].decode()) if mask.any() else None


def plain(mask):
    "Run lengths as the truth has them: a list of integers, column by column, zeros first."
    if not mask.any(): return None
    ends = np.flatnonzero(np.diff(mask.T.reshape(-1).astype(int), prepend=0))
    return dict(size=list(mask.shape), counts=np.diff([0, *ends, mask.size]).tolist())


def thing(rng, length, size):
    "(T,H,W): a box that wanders, and may be hidden for a while."
    (H, W), masks = size, np.zeros((length, *size), bool)
    h, w, y, x = rng.integers([4, 4, 0, 0], [H//2, W//2, H//2, W//2])
    for t in range(length):
        y, x = np.clip((y, x) + rng.integers(-2, 4, 2), 0, (H - 4, W - 4))
        masks[t, y:y + h, x:x + w] = True
    start = rng.integers(1, length)
    if rng.random() < .4: masks[start:start + 3] = False
    return masks


def near(rng, masks):
    "What a network makes of it: other pixels, and frames in which it is lost."
    moved = np.roll(masks, rng.integers(-1, 2, 2), axis=(1, 2)) & (rng.random(masks.shape) < rng.choice([.8, .97, .99]))
    moved[rng.random(len(masks)) < .1] = False
    return moved


def results(rng, truth):
    "Tracks of a video as (masks, category, score): near the truth, twice, broken in two, of another class, missed; and of nothing."
    found = []
    for masks, category in truth:
        fits, other = near(rng, masks), rng.integers(3)
        early = (np.arange(len(masks)) < len(masks)//2)[:, None, None]
        outcomes = dict(right=[(fits, category)], twice=[(fits, category)]*2, other=[(fits, other)], missed=[],
                        broken=[(fits & early, category), (fits & ~early, category)])
        found += outcomes[rng.choice(list(outcomes), p=[.45, .15, .1, .1, .2])]
    shape = truth[0][0].shape
    found += [(thing(rng, shape[0], shape[1:]), rng.integers(3)) for _ in range(rng.integers(3))]
    return [(masks, category, round(float(rng.random()), 2)) for masks, category in found if masks.any()]


def data_set(videos=30, things=6, length=(4, 13), size=(40, 64), seed=0):
    """Truth and results in the official layout; the first result of all has a duplicate, some videos have no results.

    No crowds: the official API matches them again and again, trackeval once."""
    rng = np.random.default_rng(seed)
    truth = dict(videos=[], annotations=[], categories=[dict(id=n + 1, name=name) for n, name in enumerate(CATEGORIES)])
    found, shape = [], dict(height=size[0], width=size[1])
    for video in range(1, videos + 1):
        T = int(rng.integers(*length))
        names = [f'{video:03}/{t:05}.jpg' for t in range(T)]
        truth['videos'].append(dict(id=video, length=T, file_names=names, **shape))
        tracks = [(thing(rng, T, size), rng.integers(3)) for _ in range(rng.integers(1, things + 1))]
        for masks, category in tracks:
            truth['annotations'].append(dict(
                id=len(truth['annotations']) + 1, video_id=video, category_id=int(category) + 1, iscrowd=0, **shape,
                areas=[int(area) or None for area in masks.sum((1, 2))], segmentations=[plain(mask) for mask in masks]))
        said = results(rng, tracks) if video % 10 else []
        if video == 1: said = [(*tracks[0], .99), (*tracks[0], .98), *said]
        found += [dict(video_id=video, category_id=int(category) + 1, score=score, segmentations=[compressed(mask) for mask in masks])
                  for masks, category, score in said]
    return truth, found


def second_opinion(folder, truth, found, metrics):
    "What trackeval's metrics say of files in its folders; its tracks are numbered from 1, since it takes number 0 for `not matched`."
    for name, content in (('gt/youtube_vis_test/truth.json', truth), ('found/youtube_vis_test/ours/data/results.json', found)):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(json.dumps(content))
    quiet = dict(PRINT_CONFIG=False)
    data = trackeval.datasets.YouTubeVIS(quiet | dict(
        GT_FOLDER=f'{folder}/gt/', TRACKERS_FOLDER=f'{folder}/found/', SPLIT_TO_EVAL='test', TRACKERS_TO_EVAL=['ours']))
    data.global_tid_counter = 1
    evaluator = trackeval.Evaluator(quiet | dict(
        BREAK_ON_ERROR=True, PRINT_RESULTS=False, OUTPUT_SUMMARY=False, OUTPUT_DETAILED=False, PLOT_CURVES=False, TIME_PROGRESS=False))
    return evaluator.evaluate([data], metrics)[0]['YouTubeVIS']['ours']['COMBINED_SEQ']


@pytest.fixture(scope='module')
def files():
    "No IoU lies on a threshold: trackeval's are sums of .05, a rounding away from the official ones."
    truth, results = data_set()
    ious = [track_iou(found, real).ravel() for found, real, _ in official_tracks(truth, results)]
    assert np.abs(np.concatenate(ious)[:, None] - np.arange(.5, .96, .05)).min() > 1e-9
    return truth, results


def test_youtube_vis_ap(files, tmp_path):
    "AP, AP50, AP75, by size, AR1, AR10: three runs of trackeval's, one for each number of detections."
    ranges = [[0, AREAS[0]], [AREAS[0], AREAS[1]], [AREAS[1], 1e10]]
    ours, theirs = youtube_vis_ap(*files, AREAS), {}
    for most in (1, 10, 100):
        metric = trackeval.metrics.TrackMAP(dict(USE_TIME_RANGES=False, AREA_RANGES=ranges, MAX_DETECTIONS=most, PRINT_CONFIG=False))
        said = second_opinion(tmp_path, *files, [metric])['cls_comb_cls_av']['TrackMAP']
        theirs[f'AR{most}'] = said['AR_all'].mean()
    theirs |= dict(AP=said['AP_all'].mean(), AP50=said['AP_all'][0], AP75=said['AP_all'][5])
    theirs |= {f'AP{size}': said[f'AP_area_{size}'].mean() for size in 'sml'}
    assert {name: value/100 for name, value in ours.items()} == pytest.approx(theirs, abs=1e-6)
    assert 5 < ours['AP'] < 95 and ours['AR1'] < ours['AR10'], 'neither perfect nor empty'


def test_hota(files, tmp_path):
    "HOTA, DetA and AssA over all classes, each detection with the same weight."
    said = second_opinion(tmp_path, *files, [trackeval.metrics.HOTA()])['cls_comb_det_av']['HOTA']
    ours = tracking_numbers(hota=sum(hota_counts(truth, found) for found, truth, _ in official_tracks(*files)))
    assert {name: value/100 for name, value in ours.items()} == pytest.approx({name: said[name].mean() for name in ours}, abs=1e-6)
    assert 5 < ours['HOTA'] < 95 and ours['DetA'] != ours['AssA']
