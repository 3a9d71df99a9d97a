"""What CONTRIBUTING promises: each addition is one entry in one place, and the function it names. In a copy each of them is made and used.

A second task, depth per pixel, trains, resumes, is evaluated and stands in a table; the loops, the plan and the graph do not know it."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]

# (module, what stands before the entry, the entry, the function)
ENTRIES = dict(
    loss=('training/terms.py', 'TERMS = {\n', "    'logit_distance': Term(logit_distance, ('teacher',)),\n", '''
def logit_distance(step):
    "The squared distance of the student's scores to the teacher's."
    return (step.output.logits[:len(step.label)] - step.teacher.logits[:len(step.label)]).square().mean()
'''),
    network=('networks/models.py', 'MODELS = {  # name → function of (num_classes, pretrained=…)\n', "    'dot': Dot,\n", '''
from .segnet import SegNet


class Dot(SegNet):
    "One convolution, and a classifier."
    def __init__(self, num_classes, pretrained=False):
        super().__init__((0, 0, 0), (1, 1, 1))
        self.encoder, self.classifier = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, num_classes, 1)

    def extract(self, image): return self.encoder(image).relu(), ()
'''),
    flow=('motion/flow.py', 'FLOW_METHODS = {  # name → function of (src, dst, **parameters)\n', "    'still': still,\n", '''
def still(src, dst):
    "Nothing moves."
    return torch.zeros(len(src), 2, *src.shape[2:])
'''),
    keyframe_method=('keyframes/models.py', 'KEYFRAME_METHODS = {  # name → class, made from a list of per-frame networks and options\n',
                     "    'hold': Hold,\n", '''
class Hold(DeepFeatureFlow):
    "A key frame every third frame."
    def __init__(self, networks, interval=3, flow='dis'): super().__init__(networks, interval, flow)
'''),
    measure=('training/measures.py', 'CLASS_MAP_MEASURES = dict(\n', '    road_share=RoadShare,\n', '''
class RoadShare(Measure):
    "How much of the picture is called road."
    fed, metrics = 'video', dict(road=Metric('Road', digits=3))

    def update(self, walk): self.add(walk.clip.name, road=[int((walk.pred == 0).sum()), walk.pred.numel()])

    @classmethod
    def numbers(cls, sums, classes):
        road, pixels = sums['road'].sum(0).tolist()
        return dict(road=100*road/pixels)
'''),
    task=('training/tasks.py', 'TASKS = {\n',
          "    'depth': Task(depth_samples, DepthStep, class_map_network, walk_depth, dict(error=DepthError)),\n", '''
import torch
from torch.utils.data import Dataset
from ..data.street import StreetWorld
from ..data.worlds import SPLITS
from ..networks.batches import to_images
from .measures import Measure, Metric
from .predictions import Walk


def nearness(clip, i):
    "1/depth of every pixel of a street's frame, in float32."
    made = dict(clip.folder.info['made_by'])
    split, _, replicate = clip.split.partition('-')
    number = (int(replicate or made.pop('seed'))*len(SPLITS) + SPLITS.index(split))*100_000 + int(clip.name)
    made.pop('seed', None)
    made.pop('world')
    return torch.from_numpy(StreetWorld(number, **made)._look(i)[2])


class DepthFrames(Dataset):
    "The k-th draw is a function of k."
    def __init__(self, clips): self.frames = [(clip, i) for clip in clips for i in clip.labelled]

    def __len__(self): return len(self.frames)

    def __getitem__(self, k):
        clip, i = self.frames[k % len(self.frames)]
        return dict(frame=to_images([clip.frame(i)])[0], depth=nearness(clip, i))


def depth_samples(recipe, cache=None): return [(DepthFrames(ClipFolder(root()/recipe.data).clips(recipe.split)), recipe.batch_size)]


class DepthStep(Step):
    "Frames and their depths."
    @classmethod
    def of(cls, recipe, batch):
        step = cls(recipe, batch['frame'], None, None, None)
        step.depth = batch['depth']
        return step

    def count(self): return torch.tensor(self.depth.numel())


def walk_depth(model, clip, device='cpu', mirrored=False):
    "The depth in every frame, from its first score."
    frames = (to_images([clip.frame(i)], device) for i in range(len(clip)))
    with torch.inference_mode(): yield Walk(clip, torch.cat([model(frame).logits[:, 0].cpu() for frame in frames]))


class DepthError(Measure):
    "The mean absolute error of 1/depth, in thousandths."
    fed, metrics = 'video', dict(depth_error=Metric('Error', digits=2, better=-1, compared=True, unit=''))

    def update(self, walk):
        for i, pred in enumerate(walk.pred): self.add(walk.clip.name, error=[(pred - nearness(walk.clip, i)).abs().mean().item(), 1])

    @classmethod
    def numbers(cls, sums, classes):
        error, frames = sums['error'].sum(0).tolist()
        return dict(depth_error=1000*error/frames)
'''),
    depth_term=('training/terms.py', 'TERMS = {\n', "    'depth': Term(depth),\n", '''
def depth(step):
    "L1 of the first score."
    return (step.output.logits[:, 0] - step.depth).abs().mean()
'''),
)
CONVERTER = '''
import sys
from pathlib import Path
from vidseg.data.clips import write_dataset_info
from vidseg.data.worlds import write_world
source, target = map(Path, sys.argv[1:3])
assert (source/'official.txt').exists()
for split, clips in (('train', 4), ('val', 2)): write_world(target, split, clips=clips, size=(32, 64), length=8, seed=3, gaps=(1,))
'''
SMALL = dict(model='pspnet_mobilenetv2_050', encoder_weights=None)
CORRIDOR = dict(
    kind='corridor', title='a corridor', converter='data_scripts/corridor.py', paper=dict(tables=[]),
    profiles=dict(smoke=dict(tables=[], recipe=SMALL | dict(steps=2, batch_size=2), evaluate=dict(split='val', flow='exact'))))
TABLE = {
    'title': 'One entry', 'says': 'A table of ours.', 'in': ['street/smoke'], 'rows': ['baseline', 'dotted', 'TL'], 'against': 'baseline',
    'metrics': ['miou', 'road'], 'columns': ['method'], 'chart': 'dumbbells'}
DEPTH_TABLE = {
    'title': 'Depth', 'says': 'Another task.', 'in': ['street/smoke'], 'rows': ['depth', 'depth-longer'], 'against': 'depth',
    'metrics': ['depth_error']}
SCHEMES = {
    'dotted': dict(marks=[], model='dot', encoder_weights=None),
    'depth': dict(marks=[], task='depth', terms=dict(depth=1.), **SMALL),
    'depth-longer': dict(marks=[], task='depth', terms=dict(depth=1.), steps=6, **SMALL),
}
CLAIM = dict(claim='More steps find the depth better', section='none', scheme='depth-longer', against='depth',
             metric='depth_error', falls=True)


def plant(root, module, before, entry, function):
    "A function above a registry, and a line in it."
    path = root/'vidseg'/module
    text = path.read_text(encoding='utf-8')
    assert text.count(before) == 1, f'{module}: {before}'
    path.write_text(text.replace(before, f'{function}\n\n{before}{entry}'), encoding='utf-8')


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    "A copy of the project with every addition, one entry and one function each."
    root = tmp_path_factory.mktemp('project')
    for name in ('vidseg', 'data_scripts'): shutil.copytree(REPO/name, root/name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(REPO/'nbs'/'experiments', root/'nbs'/'experiments')
    for name in ('settings.ini', 'Snakefile'): shutil.copy(REPO/name, root/name)
    loops = [root/'vidseg'/'training'/f'{name}.py' for name in ('training', 'evaluation', 'plan', 'runs', 'pipeline')]
    untouched = {path: path.read_bytes() for path in loops}
    for entry in ENTRIES.values(): plant(root, *entry)
    assert all(path.read_bytes() == content for path, content in untouched.items())
    (root/'data_scripts'/'corridor.py').write_text(CONVERTER)
    file = root/'nbs'/'experiments'/'experiments.yaml'
    content = yaml.safe_load(file.read_text(encoding='utf-8'))
    content['data_sets']['corridor'] = CORRIDOR
    content['tables'] |= dict(table_ours=TABLE, table_depth=DEPTH_TABLE)
    content['schemes'] |= SCHEMES
    content['claims'].append(CLAIM)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
    return root


def run(project, script):
    "What a script prints at its end, as JSON; it runs on the copy."
    environment = {**os.environ, 'VIDSEG_ROOT': str(project), 'PYTHONPATH': str(project), 'OMP_NUM_THREADS': '1'}
    start = 'import json\nfrom dataclasses import replace\nfrom vidseg.training import Experiment, Recipe, Run, Wanted, train\n'
    command = [sys.executable, '-c', start + script]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_loss_term(project):
    "A distillation loss: refused without a teacher, logged with one."
    said = run(project, '''
smoke = Experiment('smoke')
from vidseg.training.pipeline import prepare_and_train
teacher = prepare_and_train(smoke, 'baseline', 0, progress=False)
terms = {'cross_entropy': 1., 'logit_distance': .1}
recipe = replace(smoke.recipe('baseline'), name='distilled', teacher=f'runs/{teacher.name}', terms=terms)
try: replace(recipe, teacher=None); refused = False
except ValueError as error: refused = 'logit_distance needs a teacher' in str(error)
log = Run(train(recipe, progress=False)).log()
print(json.dumps(dict(refused=refused, logged=[row['logit_distance'] for row in log])))''')
    assert said['refused'] and len(said['logged']) == 4 and min(said['logged']) > 0


def test_network_measure_table(project):
    "A network, a measure of its own, and a table that shows both, drawn."
    said = run(project, '''
from vidseg.training.pipeline import train_and_evaluate
from vidseg.training.plan import plan
from vidseg.paper.tables import table
from vidseg.paper.charts import CHARTS
smoke = Experiment('smoke')
for scheme in ('baseline', 'dotted', 'TL'): train_and_evaluate(smoke, scheme, [0], progress=False)
result = table('table_ours', smoke, [0])
figure = CHARTS[smoke.tables['table_ours']['chart']](result)
planned = [row['network'] for row in plan(smoke, [0])[0]]
print(json.dumps(dict(markdown=result.markdown, road=result.rows.road.tolist(), traces=len(figure.data), planned=planned)))''')
    assert '| Road |' in said['markdown'] and 'Table ours. One entry' in said['markdown'] and 'dot' in said['planned']
    assert len(said['road']) == 3 and all(0 <= share <= 100 for share in said['road']) and said['traces'] > 0


def test_flow_estimator(project):
    "A flow estimator by name, from `estimate_flow` to training."
    said = run(project, '''
import torch
from vidseg.motion.flow import estimate_flow
smoke = Experiment('smoke')
for split in ('train', 'pretrain'): smoke.prepare(split)
recipe = replace(smoke.recipe('TL'), name='still', flow='still', encoder_weights=None)
run = Run(train(recipe, progress=False))
frames = torch.rand(1, 3, 40, 60)
print(json.dumps(dict(moved=estimate_flow(frames, frames, 'still').abs().sum().item(), steps=len(run.log()))))''')
    assert said == dict(moved=0, steps=4)


def test_keyframe_method(project):
    "A keyframe method by name: trained on a network, evaluated over all places of its key frames."
    said = run(project, '''
from vidseg.training.evaluation import evaluate
from vidseg.training.pipeline import prepare_and_train
smoke = Experiment('smoke')
network = prepare_and_train(smoke, 'baseline@pspnet18', 0, progress=False)
of = Run(network).recipe
smoke.prepare('val')
method = replace(of, name='hold', method='hold', networks=(f'runs/{network.name}',), encoder_weights=None, steps=2, batch_size=2)
run = train(method, progress=False)
print(json.dumps(dict(offsets=len(Run(run).model().offsets), drop=evaluate(run, flow='exact', progress=False)['key_drop'])))''')
    assert said['offsets'] == 3 and said['drop'] != 0


def test_data_set(project, tmp_path):
    "A data set: the graph converts it, its splits are trained and evaluated on."
    (tmp_path/'official.txt').write_text('')
    said = run(project, f'''
import subprocess
from vidseg.training.pipeline import train_and_evaluate
from vidseg.training.plan import Jobs, plan
corridor = Experiment('smoke', 'corridor')
jobs, missing = Jobs(corridor, [0], {str(tmp_path)!r}), plan(corridor, [0])[1]
try: corridor.prepare('train'); told = ''
except FileNotFoundError as error: told = str(error)
import sys
command = [sys.executable if word == 'python' else word for word in jobs.all[0].command]
subprocess.run(command, check=True)
metrics = train_and_evaluate(corridor, 'baseline', [0], progress=False)
print(json.dumps(dict(title=corridor.title, told=told, made=jobs.all[0].output, miou=metrics[0]['miou'])))''')
    assert said['title'] == 'a corridor' and 'python data_scripts/corridor.py' in said['told']
    assert said['made'] == 'data/corridor' and said['miou'] >= 0


def test_second_task_and_claim(project):
    "Depth per pixel trains, is killed, resumes to the same weights, is evaluated, stands in a table and in a claim, and is planned."
    said = run(project, '''
import shutil
import torch
from vidseg.training import TERMS
from vidseg.training.pipeline import train_and_evaluate
from vidseg.training.plan import Jobs, plan
from vidseg.paper.claims import claims
from vidseg.paper.tables import table
smoke = Experiment('smoke')
for scheme in ('depth', 'depth-longer'): metrics = train_and_evaluate(smoke, scheme, [0], progress=False)
recipe = smoke.recipe('depth-longer')
reference = Run.of(recipe).state_dict()
shutil.rmtree(recipe.folder)
kept, calls = TERMS['depth'], []
class Killed(Exception): pass
def killing(step):
    calls.append(1)
    if len(calls) == 4: raise Killed
    return kept.loss(step)
TERMS['depth'] = replace(kept, loss=killing)
try: train(recipe, checkpoint_every=2, progress=False)
except Killed: pass
begun = Run.of(recipe).state
TERMS['depth'] = kept
resumed = Run(train(recipe, checkpoint_every=2, progress=False))
same = all(torch.equal(reference[name], value) for name, value in resumed.state_dict().items())
train_and_evaluate(smoke, 'depth-longer', [0], progress=False)
result = table('table_depth', smoke, [0])
smoke.claims = smoke.claims[-1:]
claim = claims(smoke, [0]).iloc[0]
from_plan = [row['run'].split('-s0')[0] for row in plan(smoke, [0])[0]]
outputs = [job.output for job in Jobs(smoke, [0]).all]
step = resumed.provenance['resumed_from']
print(json.dumps(dict(begun=begun, same=same, step=step, markdown=result.markdown, metrics=sorted(metrics[0]),
                      claimed=claim.claim, effect=claim.effect, planned=from_plan, outputs=outputs)))''')
    assert said['begun'] == 'begun' and said['same'] and said['step'] == 2
    assert 'depth_error' in said['metrics'] and 'miou' not in said['metrics'], 'its own measures, and no others'
    assert '| Error |' in said['markdown'] and said['claimed'] == CLAIM['claim'] and said['effect'] == said['effect']
    assert {'depth', 'depth-longer'} <= set(said['planned']) and 'runs/street-smoke/table_depth.ipynb' in said['outputs']
