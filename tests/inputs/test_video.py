"Videos as cameras, phones, recorders and editors write them, each made here: what a player shows is what is read."
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from torch import nn

from vidseg.data.clips import read_video
from vidseg.data.video import Video, video_frames, video_info, write_video
from vidseg.use.commands import flow_video, main
from vidseg.use.predict import Segmenter, segment

COUNT, SIZE = 12, (96, 128)


def patches(n):
    "Frame n: four flat patches, of which the first says n."
    frame = np.zeros((*SIZE, 3), np.uint8)
    half_h, half_w = SIZE[0]//2, SIZE[1]//2
    for k, color in enumerate([(20*n + 10,)*3, (200, 40, 60), (60, 180, 90), (70, 90, 210)]):
        frame[k//2*half_h:(k//2 + 1)*half_h, k % 2*half_w:(k % 2 + 1)*half_w] = color
    return frame


def middle(frame):
    "(4,3) the colours in the middle of the patches."
    height, width = frame.shape[:2]
    return np.array([frame[height//4 + i*height//2, width//4 + j*width//2] for i in (0, 1) for j in (0, 1)]).astype(int)


def number(frame): return round((middle(frame)[0].mean() - 10)/20)


def make(path, codec='libx264', kind='yuv420p', frames=None, rate=30, times=None, options=(), container=None, prepare=None, tags=None):
    "A video of some frames; `times` in seconds, `prepare(stream)` before it is written."
    flags = {'movflags': 'faststart'} if str(path).endswith('mp4') else {}
    with av.open(str(path), 'w', format=container, options=flags) as out:
        stream = out.add_stream(codec, rate=rate, options=dict(options))
        frames = list(map(patches, range(COUNT))) if frames is None else frames
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], kind
        if times is not None: stream.codec_context.time_base = Fraction(1, 1000)
        if prepare: prepare(stream)
        for n, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format='rgb24').reformat(format=kind, **(tags or {}))
            if times is not None: picture.pts, picture.time_base = round(1000*times[n]), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def segmenter(): return Segmenter(nn.Conv2d(3, 3, 1), ['a', 'b', 'c'], device='cpu', batch_size=3)


# Every container and codec

LOSSLESS, LOSSY, GIF = 3, 6, 16
FORMATS = [
    ('a.mp4', 'libx264', 'yuv420p', {'crf': '10'}, LOSSY),
    ('b.mp4', 'libx264', 'yuv444p', {'qp': '0'}, LOSSLESS),
    ('c.mp4', 'mpeg4', 'yuv420p', {'qscale': '2'}, LOSSY),
    ('d.mp4', 'libsvtav1', 'yuv420p', {'crf': '10'}, LOSSY),
    ('e.mp4', 'libx264', 'yuv420p10le', {'crf': '10'}, LOSSY),
    ('f.mkv', 'ffv1', 'yuv444p', {}, LOSSLESS),
    ('g.mkv', 'ffv1', 'bgr0', {}, LOSSLESS),
    ('x.mkv', 'ffv1', 'gray', {}, LOSSLESS),
    ('h.mkv', 'libvpx-vp9', 'yuv420p', {'crf': '10', 'b': '0'}, LOSSY),
    ('i.mkv', 'mjpeg', 'yuvj420p', {}, LOSSY),
    ('j.webm', 'libvpx-vp9', 'yuv420p', {'crf': '10', 'b': '0'}, LOSSY),
    ('k.webm', 'libvpx', 'yuv420p', {'crf': '4', 'b': '4000000'}, LOSSY),
    ('l.webm', 'libsvtav1', 'yuv420p', {'crf': '10'}, LOSSY),
    ('m.avi', 'mpeg4', 'yuv420p', {}, LOSSY),
    ('n.avi', 'mjpeg', 'yuvj420p', {}, LOSSY),
    ('o.avi', 'ffv1', 'yuv420p', {}, LOSSY),
    ('p.mov', 'prores_ks', 'yuv422p10le', {}, LOSSY),
    ('q.mov', 'libx264', 'yuvj420p', {'crf': '10'}, LOSSY),
    ('r.mov', 'mjpeg', 'yuvj444p', {}, LOSSLESS),
    ('s.ts', 'libx264', 'yuv420p', {'crf': '10'}, LOSSY),
    ('t.ts', 'mpeg2video', 'yuv420p', {}, LOSSY),
    ('u.gif', 'gif', 'rgb8', {}, GIF),
    ('v.mpg', 'mpeg2video', 'yuv420p', {}, LOSSY),
    ('w.flv', 'libx264', 'yuv420p', {'crf': '10'}, LOSSY),
]


def stored(n, kind): return av.VideoFrame.from_ndarray(patches(n), format='rgb24').reformat(format=kind).to_ndarray(format='rgb24')


@pytest.mark.parametrize(('name', 'codec', 'kind', 'options', 'within'), FORMATS, ids=[f'{f[0]} {f[1]} {f[2]}' for f in FORMATS])
def test_written_and_read(name, codec, kind, options, within, tmp_path):
    rate = 25 if codec in ('mpeg2video', 'gif') else 30
    def prepare(stream): stream.bit_rate = 8_000_000 if codec in ('mpeg4', 'mpeg2video', 'mjpeg') else 0
    with ThreadPoolExecutor(1) as aside:     # SVT-AV1 makes the thread that encodes a real-time one, where it may, while that lives
        path = aside.submit(make, tmp_path/name, codec, kind, rate=rate, options=options, prepare=prepare).result()
    shown = list(Video(path).timed())
    assert len(shown) == COUNT and (codec == 'gif' or [number(frame) for *_, frame in shown] == list(range(COUNT)))
    assert all(abs(start - n/rate) < 2e-3 for n, (start, *_) in enumerate(shown))
    right = [middle(patches(n)) for n in range(COUNT)]
    if kind in ('rgb8', 'gray'): right = [middle(stored(n, kind)) for n in range(COUNT)]
    worst = max(np.abs(middle(frame) - colors).max() for (*_, frame), colors in zip(shown, right))
    assert worst <= within, f'colours are off by {worst}'


# Which frames, and when

def test_edit_list(tmp_path):
    "What an edit list cuts away is not shown; a frame before time 0 of a fragmented mp4 neither."
    for bframes in ('0', '2'):
        whole = make(tmp_path/'whole.mp4', options={'g': '4', 'bf': bframes, 'crf': '10'})
        data = bytearray(whole.read_bytes())
        at = data.find(b'elst')
        movie, media = (struct.unpack('>I', data[data.find(box) + 16:data.find(box) + 20])[0] for box in (b'mvhd', b'mdhd'))
        start = struct.unpack('>i', data[at + 16:at + 20])[0]
        for first, count in ((0, 12), (6, 6), (0, 5), (5, 3), (3, 9)):
            data[at + 12:at + 20] = struct.pack('>Ii', movie*count//30, start + media*first//30)
            (tmp_path/'cut.mp4').write_bytes(data)
            shown = list(Video(tmp_path/'cut.mp4').timed())
            assert [number(frame) for *_, frame in shown] == list(range(first, first + count)), (bframes, first, count)
            assert abs(shown[-1][1] - count/30) < .01


def test_negative_timestamps(tmp_path):
    "Frames before time 0 are cut away, as a player of mp4 does it."
    path = make(tmp_path/'a.mp4', times=[(n - 4)/30 for n in range(COUNT)], options={'bf': '0'})
    assert [number(frame) for frame in video_frames(path)] == list(range(4, COUNT))


@pytest.mark.parametrize('fps', [None, 10, 25])
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.webm'])
def test_variable_rate(name, fps, tmp_path):
    times = [0, .033, .067, .1, .6, .633, .667, 1.2, 1.233, 1.267, 1.3, 1.333]
    path = make(tmp_path/name, 'libvpx' if name.endswith('webm') else 'libx264', times=times)
    shown = list(Video(path, fps).timed())
    at = [start for start, *_ in shown]
    right = range(COUNT) if fps is None else [max(n for n, time in enumerate(times) if time <= start + 3e-3) for start in at]
    assert [number(frame) for *_, frame in shown] == list(right) and abs(shown[-1][1] - 1.366) < (.05 if fps is None else 1/fps + .05)
    segment(segmenter(), path, tmp_path/'out.mp4', fps=fps, progress=False)
    assert np.abs(np.array([start for start, *_ in Video(tmp_path/'out.mp4').timed()]) - at).max() < 2e-3, 'the overlay keeps the times'


@pytest.mark.parametrize(('name', 'codec', 'rate'), [('a.h264', 'libx264', 20), ('a.m2v', 'mpeg2video', 30), ('a.hevc', 'libx265', 20),
                                                     ('a.m4v', 'mpeg4', 20)])
def test_no_timestamps(name, codec, rate, tmp_path):
    container = {'m2v': 'mpeg2video'}.get(name[2:], name[2:])
    options = {'x265-params': 'log-level=none'} if codec == 'libx265' else {}
    path = make(tmp_path/name, codec, rate=rate, container=container, options=options)
    assert video_info(path)[0] == rate
    assert [(number(frame), round(start*rate, 3)) for start, _, frame in Video(path).timed()] == [(n, n) for n in range(COUNT)]


def test_dv(tmp_path):
    "DV has one size; its rate stands in the stream."
    frames = [np.full((576, 720, 3), 20*n + 10, np.uint8) for n in range(5)]
    path = make(tmp_path/'a.dv', 'dvvideo', frames=frames, rate=25, container='dv')
    assert video_info(path)[0] == 25 and [round((frame.mean() - 10)/20) for frame in video_frames(path)] == list(range(5))


def test_dropped_frames(tmp_path):
    for codec, kind in (('mpeg4', 'yuv420p'), ('mjpeg', 'yuvj420p'), ('ffv1', 'yuv420p')):
        kept = [n for n in range(COUNT) if n not in (3, 4, 8)]
        with av.open(str(tmp_path/'a.avi'), 'w') as out:
            stream = out.add_stream(codec, rate=30)
            stream.height, stream.width, stream.pix_fmt, stream.codec_context.time_base = *SIZE, kind, Fraction(1, 30)
            for n in kept:
                frame = av.VideoFrame.from_ndarray(patches(n), format='rgb24')
                frame.pts, frame.time_base = n, Fraction(1, 30)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        shown = list(Video(tmp_path/'a.avi').timed())
        assert [number(frame) for *_, frame in shown] == kept and [round(30*start) for start, *_ in shown] == kept, codec
        sampled = [number(frame) for frame in video_frames(tmp_path/'a.avi', fps=15)]
        assert sampled == [max(k for k in kept if k <= n) for n in range(0, COUNT, 2)]


@pytest.mark.parametrize('apart', [0, 5000])
def test_joined(apart, tmp_path):
    "Two transport streams one after the other, of the same time or of another day."
    parts = [make(tmp_path/f'{start}.ts', times=[start + n/30 for n in range(COUNT)], options={'g': '4'}) for start in (0, apart)]
    (tmp_path/'two.ts').write_bytes(b''.join(part.read_bytes() for part in parts))
    shown = list(Video(tmp_path/'two.ts').timed())
    assert [number(frame) for *_, frame in shown] == [*range(COUNT)]*2
    assert np.abs(np.diff([start for start, *_ in shown]) - 1/30).max() < .01
    assert len(list(video_frames(tmp_path/'two.ts', fps=15))) in (12, 13)


def test_size_changes(tmp_path):
    "Scaled to the first, said once."
    def flat(n, height): return np.full((height, 2*height, 3), 20*n + 10, np.uint8)
    parts = [make(tmp_path/f'{h}.h264', frames=[flat(n, h) for n in range(4)], container='h264') for h in (48, 96)]
    (tmp_path/'a.h264').write_bytes(b''.join(part.read_bytes() for part in parts))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('default')
        frames = list(video_frames(tmp_path/'a.h264'))
    assert [frame.shape for frame in frames] == [(48, 96, 3)]*8
    assert [round((frame.mean() - 10)/20) for frame in frames] == [*range(4)]*2
    assert len(said) == 1 and 'from 48×96 to 96×192' in str(said[0].message)
    with warnings.catch_warnings(): # all three ways into a video
        warnings.simplefilter('ignore')
        segment(segmenter(), tmp_path/'a.h264', tmp_path/'out.mp4', progress=False)
        flow_video(tmp_path/'a.h264', tmp_path/'flow.mp4', progress=False)
        assert len(read_video(tmp_path/'a.h264', tmp_path/'clip').clips('video')[0]) == 8


def test_wrong_count_in_the_header(tmp_path):
    "Too many, too few, none: the frames are what counts."
    path = make(tmp_path/'a.avi', 'mpeg4')
    data = bytearray(path.read_bytes())
    for count in (0, 5, 1000):
        for place in (data.find(b'avih') + 8 + 16, data.find(b'strh') + 8 + 32): data[place:place + 4] = struct.pack('<I', count)
        path.write_bytes(data)
        assert [number(frame) for frame in video_frames(path)] == list(range(COUNT)), count


# Damage

def damaged(kind, tmp_path):
    "A file that is cut short, has a hole, or lost a piece."
    name, codec, options, form = {
        'webm cut': ('a.webm', 'libvpx-vp9', {'deadline': 'realtime'}, 'yuv420p'), 'mkv hole': ('a.mkv', 'ffv1', {}, 'yuv420p'),
        'avi cut': ('a.avi', 'mpeg4', {}, 'yuv420p'), 'mjpeg hole': ('b.avi', 'mjpeg', {}, 'yuvj420p'),
        'gif cut': ('a.gif', 'gif', {}, 'rgb8'),
        'ts lost': ('a.ts', 'libx264', {'g': '4'}, 'yuv420p')}.get(kind, ('a.mp4', 'libx264', {'g': '4'}, 'yuv420p'))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    def prepare(stream): stream.bit_rate = 8_000_000 if codec == 'mpeg4' else 0
    path = make(tmp_path/name, codec, form, frames=[np.roll(noise, n, 1) for n in range(20)], options=options, rate=25, prepare=prepare)
    data = path.read_bytes()
    half = len(data)//2
    if 'cut' in kind: data = data[:int(.7*len(data))]
    elif kind == 'ts lost': data = data[:half//188*188] + data[half//188*188 + 1880:]
    else: data = data[:half] + bytes(3000) + data[half + 3000:]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('kind', ['mp4 cut', 'mp4 hole', 'webm cut', 'mkv hole', 'ts lost', 'avi cut', 'mjpeg hole', 'gif cut'])
def test_damage(kind, tmp_path):
    "An error that names file, frame and time; or left out, counted and said."
    path = damaged(kind, tmp_path)
    with pytest.raises(ValueError, match=rf'{path.name}: frame \d+, at \d+\.\d\d s, cannot be decoded'): list(video_frames(path))
    video = Video(path, damaged='skip')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('default')
        count = len(list(video))
    assert 0 < count < 21 and video.skipped >= 1 and f'{video.skipped} damaged places' in str(said[-1].message)
    with pytest.raises(ValueError): segment(segmenter(), path, tmp_path/'out.mp4', progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        done = segment(segmenter(), path, tmp_path/'out.mp4', damaged='skip', progress=False)
    assert done['frames'] == count and done['skipped'] == video.skipped


# Which stream

def test_covers(tmp_path):
    "A picture on the cover is no video: of music nothing is seen, of a film the film."
    def add_cover(out, size=(64, 64)):
        cover = out.add_stream('mjpeg', rate=1)
        cover.height, cover.width, cover.pix_fmt = *size, 'yuvj444p'
        cover.disposition = av.stream.Disposition.attached_pic
        return cover, av.VideoFrame.from_ndarray(np.full((*size, 3), 200, np.uint8), format='rgb24')
    with av.open(str(tmp_path/'music.mp4'), 'w') as out:
        cover, picture = add_cover(out)
        sound = out.add_stream('aac', rate=48000, layout='mono')
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        silence.rate = 48000
        out.mux(cover.encode(picture))
        for _ in range(5): out.mux(sound.encode(silence))
        out.mux(sound.encode())
        out.mux(cover.encode())
    with pytest.raises(ValueError, match='no video stream'): Video(tmp_path/'music.mp4')
    with av.open(str(tmp_path/'film.mp4'), 'w') as out:
        cover, picture = add_cover(out, (480, 640))
        film = out.add_stream('libx264', rate=30)
        film.height, film.width, film.pix_fmt = *SIZE, 'yuv420p'
        out.mux(cover.encode(picture))
        for n in range(COUNT): out.mux(film.encode(av.VideoFrame.from_ndarray(patches(n), format='rgb24')))
        out.mux(film.encode())
        out.mux(cover.encode())
    assert [number(frame) for frame in video_frames(tmp_path/'film.mp4')] == list(range(COUNT))


# Which way up, and which colours

EIGHT = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize('matrix', EIGHT)
def test_which_way_up(matrix, tmp_path):
    a, b, c, d = matrix
    def turn(stream): stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
    path = make(tmp_path/'a.mp4', prepare=turn, options={'crf': '10'})
    shown = next(video_frames(path))
    corners = {(x, y): middle(patches(0))[2*y + x] for x in (0, 1) for y in (0, 1)}
    for (x, y), color in corners.items(): # a corner's direction from the centre is mapped by the matrix
        across, down = 2*x - 1, 2*y - 1
        right, below = (a*across + c*down > 0), (b*across + d*down > 0)
        assert np.abs(middle(shown)[2*below + right] - color).max() <= 6, matrix
    assert shown.shape[:2] == (SIZE if a else SIZE[::-1])


def test_shape_of_pixels(tmp_path):
    def narrow(stream): stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
    def turned(stream):
        narrow(stream)
        stream.set_display_rotation(90)
    wide = round(SIZE[1]*16/15)
    assert next(video_frames(make(tmp_path/'a.mp4', prepare=narrow))).shape == (SIZE[0], wide, 3)
    assert next(video_frames(make(tmp_path/'b.mkv', prepare=narrow))).shape == (SIZE[0], wide, 3)
    assert next(video_frames(make(tmp_path/'c.mp4', prepare=turned))).shape == (wide, SIZE[0], 3)


@pytest.mark.parametrize('tagged', [True, False])
@pytest.mark.parametrize(('matrix', 'height'), [(1, 96), (6, 96), (9, 96), (1, 720), (6, 720)])
def test_which_colours(matrix, height, tagged, tmp_path):
    "As tagged; untagged BT.709 from 720 lines on, else BT.601."
    frame = np.full((height, 128, 3), (200, 40, 60), np.uint8)
    scaler = {1: 1, 6: 5, 9: 9}[matrix]
    def tag(stream):
        if tagged: stream.codec_context.colorspace = matrix
    meant = dict(dst_colorspace=scaler, dst_color_range=1)
    path = make(tmp_path/'a.mp4', kind='yuv444p', frames=[frame]*2, options={'qp': '0'}, prepare=tag, tags=meant)
    seen = next(video_frames(path))[9, 9].astype(int)
    as_read = tagged or matrix == (1 if height >= 720 else 6)
    assert (np.abs(seen - (200, 40, 60)).max() <= 3) == as_read, seen


@pytest.mark.parametrize('size', [(96, 128), (720, 1280), (97, 129)])
@pytest.mark.parametrize('name', ['a.mp4', 'a.webm'])
def test_what_we_write_is_tagged(name, size, tmp_path):
    "Read back the same here; and the tags say BT.709 or BT.601 and the limited range, for players."
    frame = np.full((*size, 3), (200, 40, 60), np.uint8)
    write_video(tmp_path/name, [frame]*3, fps=25)
    with av.open(str(tmp_path/name)) as container: stored = next(container.decode(video=0))
    expected = {1} if size[0] >= 720 else {5, 6}
    assert stored.colorspace in expected and stored.color_range == 1
    assert np.abs(next(video_frames(tmp_path/name))[9, 9].astype(int) - (200, 40, 60)).max() <= 3


# Which file, and what is written

NAMES = ['clip:1.mp4', '2024-05-01T10:30:00.mp4', 'file:x.mp4', 'data:x.mp4', 'concat:a|b.mp4', 'a b.mp4', '50%d.mp4', '%03d.mp4',
         'ü.mp4', '-x.mp4',
         'a#b?.mp4', "it's.mp4", 'a"b.mp4', '🎬.mp4', 'a*b[0].mp4', '~x.mp4', 'a\\b.mp4']


@pytest.mark.parametrize('name', NAMES)
def test_any_name_is_a_file(name, tmp_path, monkeypatch):
    folder = tmp_path/'my videos'
    folder.mkdir()
    monkeypatch.chdir(folder)
    make(tmp_path/'plain.mp4').rename(folder/name)
    assert len(list(video_frames(name))) == COUNT and len(read_video(name, 'clip').clips('video')[0]) == COUNT
    segment(segmenter(), name, f'out {name}', progress=False)
    assert len(list(video_frames(f'out {name}'))) == COUNT
    main(['flow', name, 'flow.mp4', '--max-frames', '3'])
    assert len(list(video_frames('flow.mp4'))) == 2


def test_never_onto_the_source(tmp_path):
    source = make(tmp_path/'a.mp4')
    before = source.read_bytes()
    (tmp_path/'link.mp4').symlink_to(source)
    (tmp_path/'hard.mp4').hardlink_to(source)
    (tmp_path/'sub').mkdir()
    for target in (source, tmp_path/'sub'/'..'/'a.mp4', tmp_path/'link.mp4', tmp_path/'hard.mp4'):
        with pytest.raises(ValueError, match='is the source itself'): segment(segmenter(), source, target, progress=False)
        with pytest.raises(ValueError, match='is the source itself'): flow_video(source, target, progress=False)
    assert source.read_bytes() == before


@pytest.mark.parametrize(('target', 'kept'), [('out.mp4', 'aac'), ('out.webm', 'opus')])
def test_sound(target, kept, tmp_path):
    "Copied where the container holds it, else encoded and said; of its length, from the first picture on."
    with av.open(str(tmp_path/'a.mp4'), 'w') as out:
        film, sound = out.add_stream('libx264', rate=10), out.add_stream('aac', rate=48000, layout='stereo')
        film.height, film.width, film.pix_fmt = *SIZE, 'yuv420p'
        for n in range(COUNT): out.mux(film.encode(av.VideoFrame.from_ndarray(patches(n), format='rgb24')))
        out.mux(film.encode())
        for n in range(round(1.2*48000/1024)):
            wave = .3*np.sin(np.arange(n*1024, (n + 1)*1024)*2*np.pi*440/48000).astype(np.float32)
            part = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format='fltp', layout='stereo')
            part.rate, part.pts = 48000, n*1024
            out.mux(sound.encode(part))
        out.mux(sound.encode())
    for how, seconds in (({}, 1.2), ({'max_frames': 5}, .5), ({'fps': 5}, 1.2)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('default')
            segment(segmenter(), tmp_path/'a.mp4', tmp_path/target, progress=False, **how)
        with av.open(str(tmp_path/target)) as container:
            stream, = container.streams.audio
            frames = list(container.decode(stream))
        wave = np.concatenate([frame.to_ndarray()[0, ::1 if frame.format.is_planar else 2] for frame in frames])
        end = max(frame.time + frame.samples/frame.rate for frame in frames)
        peak = np.abs(np.fft.rfft(wave)).argmax()*stream.codec_context.sample_rate/len(wave)
        assert stream.codec_context.codec.canonical_name == kept and abs(end - seconds) < .06 and abs(peak - 440) < 5, (how, end, peak)
        assert bool(said) == (kept == 'opus') and all('encoded anew' in str(note.message) for note in said)


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    from vidseg.data.images import write_image
    write_image(tmp_path/'frame%03d.png', patches(3))
    assert [number(frame) for frame in video_frames(tmp_path/'frame%03d.png')] == [3]


def test_refusals(tmp_path):
    (tmp_path/'text.mp4').write_text('#EXTM3U\n/etc/passwd\n')
    (tmp_path/'empty.mp4').write_bytes(b'')
    (tmp_path/'nothing').mkdir()
    for source in ('text.mp4', 'empty.mp4', 'nothing'):
        with pytest.raises(ValueError, match=source): list(video_frames(tmp_path/source))
    path = make(tmp_path/'a.mp4')
    for how in (dict(fps=0), dict(fps=-1), dict(fps=float('nan')), dict(fps=120), dict(max_frames=0), dict(damaged='maybe')):
        with pytest.raises(ValueError, match=next(iter(how))): Video(path, **how)
