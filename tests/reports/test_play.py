"""The playground in a real browser; without one, what it sends."""

import contextlib
import shutil
import threading
import time

import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.reports import controls, play, server
from onebody.runs import loop, playable
from onebody.runs.live import Live
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split

pytest.importorskip("viser")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("play") / "omni"
    return loop.train("omni", "smt/cheetah-vel", preset="smoke", out=out, quiet=True)


@contextlib.contextmanager
def served(run, port):
    """A playground that is being served, and its address."""
    (viewer, address), ended, ready = server.start("127.0.0.1", port, "a title"), threading.Event(), []
    page = play.Playground(viewer, Live(playable.load(run)))
    serving = threading.Thread(target=page.serve, args=(lambda: ready.append(True), ended.is_set))
    serving.start()
    try:
        until(lambda: ready)
        yield page, address
    finally:
        ended.set()
        serving.join()
        viewer.stop()


@pytest.fixture
def playground(run):
    with served(run, 8230) as page:
        yield page


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def ask(page, *task):
    """As a control does."""
    page._chosen = lambda: np.array(task, np.float32)
    page._orders.put(page._ask)


class Gui:
    """Records controls."""

    def __init__(self):
        self.controls = []

    def _control(self, *arguments, **options):
        control = type("Control", (), {"arguments": arguments, "options": options})()
        control.on_update = lambda function: setattr(control, "function", function)
        self.controls.append(control)
        return control

    add_slider = add_dropdown = _control


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (Box((0.0,), (2.0,)), [1.3], [1.3]),
        (Box((0.0, -1.0), (2.0, 1.0)), [1.3, -0.5], [1.3, -0.5]),
        (Disk(2.0), [1.0, -1.5], [1.0, -1.5]),
        (Arc(), [90], [0.0, 1.0]),
        (FiniteSet(((-1.0,), (1.0,))), ["1"], [1.0]),
        (Box((0.0, 0.5), (2.0, 0.5)), [1.3], [1.3, 0.5]),
        (Split(Box((0.0,), (3.0,)), ((1.0,),), ((2.0,),), "drawn"), [2.5], [2.5]),
    ],
)
def test_each_space_has_its_controls(space, values, expected):
    gui, asked = Gui(), []
    names = tuple(f"number {i}" for i in range(space.size))
    chosen = controls.add(gui, space, names, np.asarray(space.held_out(1)[0]), lambda: asked.append(True))
    assert len(gui.controls) == len(values)
    for control, value in zip(gui.controls, values, strict=True):
        control.value = value
    gui.controls[0].function(None)
    np.testing.assert_allclose(chosen(), expected, atol=1e-6)
    assert asked


def test_sliders_reach_beyond_the_training_space_and_say_where_it_ends():
    gui = Gui()
    controls.add(gui, Box((0.0,), (2.0,)), ("velocity (m/s)",), np.array([1.0]), print)
    name, low, high, _, first = gui.controls[0].arguments
    assert (name, low, high, first) == ("velocity (m/s)", -0.5, 2.5, 1.0)
    assert gui.controls[0].options["marks"] == ((0.0, "0"), (2.0, "2"))


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [("127.0.0.1", 70_000, "--port must be from 1 to 65535"), ("192.0.2.1", 8080, "no address of this machine")],
)
def test_a_wrong_address_is_refused(host, port, message):
    with pytest.raises(OnebodyError, match=message):
        play.play(None, host, port)


def test_a_single_task_has_no_control():
    gui = Gui()
    chosen = controls.add(gui, FiniteSet(((),)), (), np.zeros(0), print)
    assert not gui.controls and chosen().shape == (0,)


def test_the_robot_acts_in_real_time_beside_predicted_and_real_returns(playground, run):
    page, _ = playground
    until(lambda: page._known)  # the background is idle
    steps, began = page.live._world.samples, time.monotonic()
    time.sleep(2.0)
    seconds = (page.live._world.samples - steps) * page.live.family.body.dt
    assert 0.2 < seconds / (time.monotonic() - began) < 1.1  # below 1 where other programs use the cores
    ask(page, 1.9)
    until(lambda: (np.float32(1.9),) in page._known and "real return" in page._status.content)
    again = onebody.adapt(run, 1.9)
    assert page._known[np.float32(1.9),][1] == pytest.approx(again.real_return)
    at = page._curve.at(1.9)
    assert f"predicted return {at.mean:.1f} ({at.low:.1f} to {at.high:.1f})" in page._status.content
    assert page._drawing.content.startswith("<svg ")
    page.live._world.push(np.full(9, np.nan))
    until(lambda: "the robot begins again" in page._status.content)
    assert np.isfinite(page.live.pose).all()
    ask(page, 2.4)
    until(lambda: "outside the space that training sampled tasks from" in page._status.content)


def test_a_policy_is_optimised_where_there_is_none_for_any_task(tmp_path):
    run = loop.train("smt", "point/goal", preset="smoke", out=tmp_path / "smt", quiet=True)
    task = np.array([0.5, -0.25], np.float32)
    with served(run, 8240) as (page, _):
        ask(page, *task)
        until(lambda: "optimising a policy" in page._status.content)
        until(lambda: np.allclose(page.live.task, task) and "real return" in page._status.content)
        assert "predicted return" in page._status.content


def test_only_the_newest_of_many_tasks_is_computed(playground):
    """As when a slider is dragged."""
    page, _ = playground
    until(lambda: page._known)
    computed, compute = [], page._compute
    page._compute = lambda task, number: (computed.append(task.item()), compute(task, number))
    for velocity in np.linspace(0.2, 1.8, 60):
        ask(page, velocity)
        time.sleep(0.02)
    until(lambda: (np.float32(1.8),) in page._known, seconds=5.0)
    assert len(computed) < 10 and page.live.task == pytest.approx(1.8)


def test_an_error_in_the_background_is_said_on_the_page(playground, monkeypatch):
    page, _ = playground
    until(lambda: page._known)

    def broken(*_):
        raise ValueError("out of order")

    monkeypatch.setattr(play.evaluate, "real_return", broken)
    ask(page, 0.3)
    until(lambda: "ValueError: out of order" in page._status.content)
    monkeypatch.undo()
    ask(page, 0.4)
    until(lambda: (np.float32(0.4),) in page._known)


def test_a_saved_policy_replaces_no_other(playground, monkeypatch, tmp_path):
    page, _ = playground
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        page._orders.put(page._save)
    until(lambda: "policy-1-2.npz" in page._status.content)
    assert {path.name for path in tmp_path.iterdir()} == {"policy-1.npz", "policy-1-2.npz"}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_slider_in_the_browser_changes_the_task(playground):
    sync = pytest.importorskip("playwright.sync_api")
    page, address = playground
    with sync.sync_playwright() as driver:
        options = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=options)
        tab, errors = browser.new_page(viewport={"width": 1280, "height": 800}), []
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.goto(address)
        slider = tab.locator("[role=slider]").first
        slider.wait_for(timeout=120_000)
        before = page.live.task
        slider.focus()
        for _ in range(10):
            tab.keyboard.press("ArrowRight")
        until(lambda: np.allclose(page.live.task, before + 0.2, atol=1e-3))
        tab.get_by_text("predicted return").wait_for(timeout=60_000)
        assert not errors
        browser.close()
