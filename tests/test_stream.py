"`vidseg segment` as a process: memory that does not grow with the video, one clear line for what is wrong, nothing left behind."
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidseg.data.street import StreetWorld
from vidseg.data.video import video_info, write_video

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT/'nbs'/'explore'/'checkpoints'/'full'
COMMAND = Path(sys.executable).parent/'vidseg'


def video(path, frames):
    "The same 20 frames, again and again."
    world = StreetWorld(seed=1, size=(120, 240), length=20)
    drawn = [world.render(t) for t in range(20)]
    return write_video(path, itertools.islice(itertools.cycle(drawn), frames), fps=17)


def peak(source, target):
    "The largest resident memory of the command, in MB."
    script = ('import resource, sys\nfrom vidseg.use.commands import main\nmain(sys.argv[1:])\n'
              'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)')
    command = [sys.executable, '-c', script, 'segment', source, target, '--run', RUN]
    one_thread = os.environ | dict(OMP_NUM_THREADS='1')
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def test_constant_memory(tmp_path):
    "Ten times the frames, the same memory: within 40 MB, where the frames themselves and their scores would take 800."
    short, long = (peak(video(tmp_path/f'{n}.mp4', n), tmp_path/f'{n}.out.mp4') for n in (60, 600))
    assert video_info(tmp_path/'600.out.mp4')[1] == 600
    assert long < short + 40, f'{short:.0f} MB for 60 frames, {long:.0f} MB for 600'


@pytest.mark.parametrize('name', ['broken', 'empty', 'missing', 'unwritable', 'no run', 'no suffix'])
def test_clear_line(name, tmp_path):
    source, target, run = video(tmp_path/'in.mp4', 8), tmp_path/'out.mp4', RUN
    if name == 'broken': source.write_bytes(source.read_bytes()[:3000])
    if name == 'empty': source.write_bytes(b'')
    if name == 'missing': source = tmp_path/'none.mp4'
    if name == 'unwritable': target = Path('/proc/vidseg/out.mp4')
    if name == 'no run': run = tmp_path/'none'
    if name == 'no suffix': target = tmp_path/'out.gif'
    before = sorted(tmp_path.iterdir())
    done = subprocess.run([COMMAND, 'segment', source, target, '--run', run], cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith('vidseg segment: ')]
    assert done.returncode == 1 and len(said) == 1 and 'Traceback' not in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == before, 'nothing is left behind'
