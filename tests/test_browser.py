"A real browser: JupyterLab opens flicker.ipynb, runs it, and the widgets answer. Skipped where there is no chromium."
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no chromium: install it (Debian: apt-get install chromium) to test the widgets')
SESSION = 'window.jupyterapp?.shell?.currentWidget?.sessionContext'
IDLE = f'{SESSION}?.isReady && {SESSION}.session?.kernel?.status === "idle"'
PIXELS = '''async image => {
    // it may change meanwhile
    while (true) try { await image.decode(); break; } catch { await new Promise(done => setTimeout(done, 50)); }
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 1) sum = (sum*31 + data[i]) % 1000000007;
    return [canvas.width, canvas.height, sum];
}'''     # what an image shows, in three numbers


@pytest.fixture
def lab(tmp_path):
    "JupyterLab on a copy of the notebook, with settings of its own; gives its address."
    shutil.copy(ROOT/'nbs'/'explore'/'flicker.ipynb', tmp_path/'flicker.ipynb')
    (tmp_path/'root').mkdir()                # worlds are made here, not where another test may make them at the same time
    (tmp_path/'root'/'nbs').symlink_to(ROOT/'nbs')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    folders = dict(JUPYTER_CONFIG_DIR='config', JUPYTERLAB_SETTINGS_DIR='settings', JUPYTERLAB_WORKSPACES_DIR='workspaces',
                   JUPYTER_RUNTIME_DIR='runtime', VIDSEG_ROOT='root')
    environment = os.environ | {name: str(tmp_path/folder) for name, folder in folders.items()} | dict(OMP_NUM_THREADS='1')
    options = [f'--port={port}', '--ServerApp.port_retries=0', '--IdentityProvider.token=vidseg', '--LabApp.expose_app_in_browser=True',
               '--LabApp.news_url=', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', f'--ServerApp.root_dir={tmp_path}']
    with open(tmp_path/'lab.log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', *options],
                                  cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f'http://127.0.0.1:{port}/api?token=vidseg', timeout=2)
                    break
                except OSError:
                    if server.poll() is not None: break
                    time.sleep(.5)
            else: pytest.fail('JupyterLab does not start:\n' + (tmp_path/'lab.log').read_text()[-2000:])
            yield f'http://127.0.0.1:{port}/lab/tree/flicker.ipynb?token=vidseg&reset'
        finally:
            server.terminate()
            server.wait(20)


def test_flicker(lab, tmp_path):
    "The notebook runs, the slider and a click on the plot change the picture, a hidden class disappears."
    from playwright.sync_api import sync_playwright
    mark = f'--of-the-test={tmp_path}'         # a flag that no browser knows: to find this one by
    # a page that hangs fails the test, and does not hold up the others
    watchdog = threading.Timer(400, _kill, [mark])
    watchdog.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, mark])
        try: _drive(browser.new_page(viewport=dict(width=1500, height=1300)), lab, tmp_path)
        finally:
            watchdog.cancel()
            browser.close()


def _kill(mark):
    "End every process that was given this flag."
    for process in psutil.process_iter(['cmdline']):
        if mark in (process.info['cmdline'] or []): process.kill()


def _open(page, address):
    "The picture of the notebook's widget, once all its cells have run."
    page.goto(address, timeout=120_000)
    page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=120_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")     # not waited for: it may never end
    picture = page.locator('img.widget-image').first
    try: picture.wait_for(timeout=240_000)
    except Exception:
        said = '\n'.join(page.locator('.jp-OutputArea-output').all_inner_texts())
        pytest.fail(f'the widget does not appear:\n{said[-3000:]}')
    page.wait_for_function(IDLE, timeout=240_000)
    picture.scroll_into_view_if_needed()
    return picture


def _fits(page, picture):
    "The picture is as wide as the page, and each word on a button can be read."
    shown, across = (place.bounding_box()['width'] for place in (picture, page.locator('.jp-OutputArea-output .jupyter-widgets').first))
    assert shown > .95*across > 800, 'the picture is as wide as the page'
    for name in ('overlay', 'classes', 'flicker'):
        button = page.get_by_role('button', name=name, exact=True).first
        assert button.evaluate('button => button.scrollWidth <= button.clientWidth'), f'the word {name} does not fit on its button'


def _drive(page, address, folder):
    picture = _open(page, address)
    _fits(page, picture)
    readout = page.locator('.widget-hslider .widget-readout').first

    def seen(): return picture.evaluate(PIXELS)

    def changes(act, what):
        "Act, and wait until the picture is another one."
        before = seen()
        act()
        for _ in range(100):
            if (after := seen()) != before: return after
            page.wait_for_timeout(100)
        page.screenshot(path=folder/'failed.png')
        pytest.fail(f'{what} does not change the picture; see {folder}/failed.png')

    width, height, _ = seen()
    assert width > height > 50, 'frame and predictions side by side'
    handle, start = page.locator('.widget-hslider .noUi-handle').first, int(readout.inner_text())
    box, to = handle.bounding_box(), (60 if start < 15 else -60)
    def drag():
        page.mouse.move(box['x'] + box['width']/2, box['y'] + box['height']/2)
        page.mouse.down()
        page.mouse.move(box['x'] + box['width']/2 + to, box['y'] + box['height']/2, steps=5)
        page.mouse.up()
    changes(drag, 'dragging the slider')
    assert int(readout.inner_text()) != start
    plot = page.locator('.js-plotly-plot .nsewdrag').first
    plot.scroll_into_view_if_needed()
    area, dragged = plot.bounding_box(), int(readout.inner_text())
    def click():
        for across in (.9 if dragged < 15 else .1, .8 if dragged < 15 else .2):     # hovering first, as a hand does
            page.mouse.move(area['x'] + across*area['width'], area['y'] + .3*area['height'], steps=8)
            page.wait_for_timeout(400)
        page.mouse.click(area['x'] + across*area['width'], area['y'] + .3*area['height'])
    changes(click, 'a click on the plot')
    page.wait_for_timeout(500)
    assert abs(int(readout.inner_text()) - dragged) > 3, 'the slider jumped to the frame that was clicked'
    page.get_by_role('button', name='overlay', exact=True).first.click()
    changes(lambda: page.get_by_role('button', name='road', exact=True).first.click(), 'hiding a class')
    assert page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    page.screenshot(path=os.environ.get('VIDSEG_SCREENSHOT', folder/'flicker.png'))
