"Somebody else's network through all that takes one: frames, video, labels, adapting, export."
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from vidseg.data.clips import ClipFolder, write_clip, write_dataset_info
from vidseg.data.video import write_video
from vidseg.networks.models import for_inference
from vidseg.networks.wrap import LUMA, as_segnet
from vidseg.training.predictions import predict_clip
from vidseg.training.pseudo import write_pseudo_labels
from vidseg.use.adapt import adapt, label_video
from vidseg.use.export import OnnxNetwork, export_onnx, export_program, load_program
from vidseg.use.predict import Segmenter, segment

Output = namedtuple('Output', 'loss logits')
FORMS = dict(tensor=lambda y: y, out=lambda y: {'aux': None, 'out': y}, logits=lambda y: {'logits': y, 'loss': 0},
             tuple=lambda y: (y, 'more'), attribute=lambda y: Output(0, y))


class UNet(nn.Module):
    "Scores at the size of the image or smaller; its sides must divide by 2^depth."
    def __init__(self, depth=3, channels=3, classes=2, form='tensor', shrink=1):
        super().__init__()
        self.form, self.shrink = FORMS[form], shrink
        self.down = nn.ModuleList(nn.Conv2d(4 if i else channels, 4, 3, stride=2, padding=1) for i in range(depth))
        self.up = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(depth - 1))
        self.out = nn.Conv2d(4, classes, 1)

    def forward(self, x):
        levels = []
        for layer in self.down: levels.append(x := layer(x))
        for layer, skip in zip(self.up, levels[-2::-1]): x = layer(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))
        x = self.out(F.interpolate(x, scale_factor=2))
        return self.form(F.avg_pool2d(x, self.shrink) if self.shrink > 1 else x)


NETWORKS = dict(
    plain=lambda: nn.Conv2d(3, 2, 1),
    unet=lambda: UNet(3, form='out'),
    deep=lambda: UNet(5, form='attribute'),
    grey=lambda: UNet(2, channels=1, form='tuple'),
    single=lambda: UNet(3, classes=1, form='logits'),
    eighth=lambda: UNet(3, shrink=8),
)


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


@pytest.fixture(scope='module')
def frames():
    rng = np.random.default_rng(0)
    smooth = np.linspace(40, 200, 90)[None, None, :, None] + np.zeros((30, 68, 90, 3))
    return np.clip(smooth + rng.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def by_hand(network, image):
    "Scores (B,2,H,W) of a network: the image continued to multiples of 32, which suit all."
    H, W = image.shape[-2:]
    x = F.pad(image, (0, -W % 32, 0, -H % 32), mode='replicate')
    if isinstance(network, UNet) and network.down[0].in_channels == 1: x = (torch.tensor(LUMA).view(3, 1, 1)*x).sum(1, keepdim=True)
    out = network(x)
    out = out['out'] if isinstance(out, dict) and 'out' in out else out['logits'] if isinstance(out, dict) else out
    out = out.logits if hasattr(out, 'logits') else out[0] if isinstance(out, tuple) else out
    out = F.interpolate(out, x.shape[-2:], mode='bilinear', align_corners=False)[..., :H, :W]
    return out if out.shape[1] == 2 else torch.cat([0*out, out], 1)


@settings(deadline=None, max_examples=40, database=None)
@given(st.sampled_from(sorted(NETWORKS)), st.sampled_from(sorted(FORMS)), st.integers(32, 100), st.integers(32, 100), st.integers(1, 3))
@torch.no_grad()
def test_any_size_and_form(name, form, H, W, B):
    "At every size and in every form the scores are those worked out by hand; what was seen before has no influence."
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    if isinstance(network, UNet): network.form = FORMS[form]
    image, wrapped = torch.rand(B, 3, H, W), as_segnet(network)
    first = wrapped(image).logits
    padded = wrapped.multiple
    assert first.shape == (B, 2, H, W) and all(side % padded == 0 for side in wrapped.prepare(image).shape[-2:])
    if name != 'plain' and all(-side % 32 == -side % padded for side in (H, W)):
        torch.testing.assert_close(first, by_hand(network, image), atol=1e-5, rtol=1e-4)
    wrapped(torch.rand(1, 3, 41, 47))
    assert torch.equal(wrapped(image).logits, first)


def test_through_everything(network, frames, tmp_path, monkeypatch):
    "One frame, frames, a video, pseudo labels, `adapt`, a clip, `for_inference`: all say the same."
    monkeypatch.setenv('VIDSEG_ROOT', str(tmp_path))
    segmenter = Segmenter(network, 2, device='cpu')
    ids = segmenter(frames[:3])
    assert ids.shape == (3, 68, 90) and (segmenter(frames[0]) == ids[:1]).all() and (segmenter(list(frames[:3])) == ids).all()
    video = write_video(tmp_path/'in.mp4', frames, fps=25)
    assert segment(segmenter, video, tmp_path/'out.mp4', progress=False)['frames'] == 30
    labelled = label_video(segmenter, video, tmp_path/'own', progress=False)
    adapted = adapt(segmenter, labelled, steps=1, batch_size=2, alphas=(1.,), progress=False)
    assert adapted.segmenter(frames[:1]).shape == (1, 68, 90) and adapted.before['agreement'] > 50

    write_dataset_info(tmp_path/'clips', 'own', ['a', 'b'], [(0, 0, 0), (9, 9, 9)], fps=25)
    write_clip(tmp_path/'clips'/'val'/'one', frames[:3])
    clip = ClipFolder(tmp_path/'clips').clips('val')[0]
    shown = np.stack([clip.frame(i) for i in range(3)])
    assert (predict_clip(network, clip).numpy() == segmenter(shown)).all()
    labels = write_pseudo_labels(network, [clip], tmp_path/'pseudo', threshold=0, scales=(1.,), flip=False, progress=False)
    assert (ClipFolder(labels).clips('pseudo')[0].label(0) == segmenter(shown)[0]).all()
    image = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2)/255
    torch.testing.assert_close(for_inference(network)(image).logits, segmenter.model(image).logits.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', ['deep', 'grey'])
def test_exported(name, tmp_path):
    "ONNX and torch.export say the same at sizes that the network itself does not take."
    torch.manual_seed(0)
    segmenter = Segmenter(NETWORKS[name](), 2, device='cpu')
    runs = OnnxNetwork(export_onnx(segmenter, tmp_path/'a.onnx')), load_program(export_program(segmenter.model, tmp_path/'a.pt2'))
    for shape in ((1, 3, 40, 56), (3, 3, 33, 71)):
        image = torch.rand(shape)
        with torch.no_grad(): expected = segmenter.model(image).logits
        for run in runs: torch.testing.assert_close(getattr(run(image), 'logits', run(image)), expected, atol=1e-3, rtol=0)


class Says(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x): return self.output


class Faulty(nn.Module):
    def forward(self, x): raise RuntimeError('out of order\nsince yesterday')


@pytest.mark.parametrize('network,word', [
    (Says('scores'), 'gives str'), (Says({}), 'a dict with nothing'), (Says({'a': 1, 'b': 2}), 'a dict with a, b'),
    (Says(None), 'NoneType'), (Says(torch.zeros(1, 4, 5)), '(1, 4, 5)'), (Says(torch.zeros(1, 2, 4, 5).long()), 'int64'),
    (nn.Conv2d(5, 2, 1), 'channels'),
    (Faulty(), 'out of order'), (nn.Conv2d(3, 7, 1), '7 classes')])
def test_refused_in_a_line(network, word):
    with pytest.raises(ValueError) as caught: Segmenter(network, ['a', 'b', 'c'], device='cpu')(np.zeros((1, 32, 32, 3), np.uint8))
    assert word in str(caught.value) and '\n' not in str(caught.value)
