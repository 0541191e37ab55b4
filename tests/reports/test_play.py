"""The playground in a real browser; without one, what it sends."""

import contextlib
import shutil
import threading
import time

import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.reports import play
from onebody.runs import loop, playable
from onebody.runs.live import Live
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split

viser = pytest.importorskip("viser")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("play") / "omni"
    return loop.train("omni", "smt/cheetah-vel", preset="smoke", out=out, quiet=True)


@contextlib.contextmanager
def served(run, port):
    """A playground that is being served, and its address."""
    server, ended, ready = viser.ViserServer(host="127.0.0.1", port=port, verbose=False), threading.Event(), []
    page = play.Playground(server, Live(playable.load(run)))
    serving = threading.Thread(target=page.serve, args=(lambda: ready.append(True), ended.is_set))
    serving.start()
    try:
        until(lambda: ready)
        yield page, f"http://127.0.0.1:{server.get_port()}"
    finally:
        ended.set()
        serving.join()
        server.stop()


@pytest.fixture
def playground(run):
    with served(run, 8230) as page:
        yield page


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


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
        (Split(Box((0.0,), (3.0,)), ((1.0,),), ((2.0,),), "drawn"), [2.5], [2.5]),
    ],
)
def test_each_space_has_its_controls(space, values, expected):
    gui, asked = Gui(), []
    names = tuple(f"number {i}" for i in range(space.size))
    play._control(gui, space, names, np.asarray(space.held_out(1)[0]), asked.append)
    assert len(gui.controls) == len(values)
    for control, value in zip(gui.controls, values, strict=True):
        control.value = value
    gui.controls[0].function(None)
    np.testing.assert_allclose(asked[0], expected, atol=1e-6)


def test_sliders_reach_beyond_the_training_space_and_say_where_it_ends():
    gui = Gui()
    play._control(gui, Box((0.0,), (2.0,)), ("velocity (m/s)",), np.array([1.0]), print)
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
    play._control(gui, FiniteSet(((),)), (), np.zeros(0), print)
    assert not gui.controls


def test_the_robot_acts_in_real_time_beside_predicted_and_real_returns(playground, run):
    page, _ = playground
    steps, began = page.live._world.samples, time.monotonic()
    time.sleep(2.0)
    seconds = (page.live._world.samples - steps) * page.live.family.body.dt
    assert seconds == pytest.approx(time.monotonic() - began, rel=0.2)
    page._ask(np.array([1.9], np.float32))
    until(lambda: page._real and page._real[-1][0] == pytest.approx(1.9) and "<svg" in page._curve.content)
    task, real = page._real[-1]
    again = onebody.adapt(run, 1.9)
    assert task == pytest.approx(1.9) and real == pytest.approx(again.real_return)
    assert f"predicted return {page._predicted[1].predicted_return[24]:.1f}" in page._status.content  # at 1.9 m/s
    page.live._world.push(np.full(9, np.nan))
    until(lambda: "the robot begins again" in page._status.content)
    assert np.isfinite(page.live.pose).all()
    page._ask(np.array([2.4], np.float32))
    assert "outside the space that training sampled tasks from" in page._status.content


def test_a_policy_is_optimised_where_there_is_none_for_any_task(tmp_path):
    run = loop.train("smt", "point/goal", preset="smoke", out=tmp_path / "smt", quiet=True)
    task = np.array([0.5, -0.25], np.float32)
    with served(run, 8240) as (page, _):
        page._ask(task)
        assert "optimising a policy" in page._status.content and not np.allclose(page.live.task, task)
        until(lambda: np.allclose(page.live.task, task) and page._real)
        assert "predicted return" in page._status.content and page._real[-1][0] == pytest.approx(task)


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
        until(lambda: np.allclose(page.live.task, before + 0.3, atol=1e-3))
        tab.get_by_text("predicted return").wait_for(timeout=60_000)
        assert not errors
        browser.close()
