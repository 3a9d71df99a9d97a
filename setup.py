"Packaging from settings.ini, the one place where names, versions and dependencies are written."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']


def listed(name): return cfg[name].split()


extras = {name: listed(f'{name}_requirements') for name in ('use', 'notebooks')}

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    keywords=cfg['keywords'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    license='Apache-2.0',
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['vidseg', 'vidseg.*']),
    python_requires=f">={cfg['min_python']}",
    install_requires=listed('requirements'),
    extras_require=extras | {'dev': [*extras['use'], *extras['notebooks'], *listed('dev_requirements')]},
    entry_points={'console_scripts': listed('console_scripts')},
    zip_safe=False,
)
