"""The playground in a real browser; without one, what it sends."""

import contextlib
import json
import shutil
import threading
import time
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest

import onebody
from onebody.algorithms.omni import omni
from onebody.core.errors import OnebodyError
from onebody.reports import controls, play, play_charts, server
from onebody.runs import evaluate, loop, playable
from onebody.runs.live import Live
from onebody.tasks import expression, registry
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split

viser = pytest.importorskip("viser")
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus
connect = pytest.importorskip("websockets.sync.client").connect
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


OPTIMIZE = omni.OMNI._optimize


@pytest.fixture(scope="module")
def unoptimised():
    """OMNI leaves its policy as it is: most of its compilation is policy optimisation, which has tests of its own, also
    as the playground calls it (tests/runs/test_live.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omni.OMNI, "_optimize", lambda self, state, tasks, rates, key: (state, {}))
        yield


@pytest.fixture(scope="module")
def point(tmp_path_factory, unoptimised):
    return loop.train("omni", "point/goal", preset="smoke", out=tmp_path_factory.mktemp("play") / "point", quiet=True)


@contextlib.contextmanager
def served(loaded, port):
    """A playground that is being served, and its address."""
    (viewer, address), ended, ready = server.start("127.0.0.1", port, "a title"), threading.Event(), []
    page = play.playground(viewer, loaded)
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
def playground():
    """Of the half-cheetah that comes with the package."""
    with served(play.load(None), 8230) as page:
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
    [("127.0.0.1", 70_000, "--port must be from 1 to 65535"), ("192.0.2.1", 8080, "not an address of this machine")],
)
def test_a_wrong_address_is_refused(host, port, message):
    with pytest.raises(OnebodyError, match=message):
        play.play(None, host, port)


def test_a_single_task_has_no_control():
    gui = Gui()
    chosen = controls.add(gui, FiniteSet(((),)), (), np.zeros(0), print)
    assert not gui.controls and chosen().shape == (0,)


def test_the_robot_acts_in_real_time_beside_predicted_and_real_returns(playground):
    page, _ = playground
    until(lambda: page._known)  # the background is idle
    steps, began = page.live._world.samples, time.monotonic()
    time.sleep(2.0)
    seconds = (page.live._world.samples - steps) * page.live.family.body.dt
    assert 0.2 < seconds / (time.monotonic() - began) < 1.1  # below 1 where other programs use the cores
    ask(page, 1.9)
    until(lambda: (np.float32(1.9),) in page._known and "real return" in page._status.content)
    task, policies = np.array([[1.9]], np.float32), page.live.playable.first.policies
    returns = evaluate.real_return(page.live.family, policies, jax.device_put(task))
    assert page._known[np.float32(1.9),][1] == pytest.approx(returns.mean())
    at = page._curve.at(1.9)
    assert f"predicted return {at.mean:.1f} ({at.low:.1f} to {at.high:.1f})" in page._status.content
    assert page._drawing.content.startswith("<svg ")
    page.live._world.push(np.full(9, np.nan))
    until(lambda: "the robot begins again" in page._status.content)
    assert np.isfinite(page.live.pose).all()
    ask(page, 2.4)
    until(lambda: "outside [0, 2], the space that training sampled tasks from" in page._status.content)


def test_a_policy_is_optimised_where_there_is_none_for_any_task(point):
    loaded, task = play.load(point), np.array([0.5, -0.25], np.float32)
    loaded.any_task = False
    with served(loaded, 8240) as (page, _):
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


def test_a_saved_policy_replaces_no_other(point, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with served(play.load(point), 8350) as (page, _):
        ask(page, 0.5, -0.25)
        for _ in range(2):
            page._orders.put(page._save)
        until(lambda: "policy-0.5--0.25-2.npz" in page._status.content)
    assert {path.name for path in tmp_path.iterdir()} == {"policy-0.5--0.25.npz", "policy-0.5--0.25-2.npz"}
    about = onebody.load_policy("policy-0.5--0.25.npz").about
    assert about == onebody.adapt(point, (0.5, -0.25)).about


def test_a_connection_without_the_token_gets_nothing():
    viewer, address = server.start("127.0.0.1", 8250, "a title")
    try:
        root, _, token = address.rpartition("/")
        assert len(token) > 20
        for path in ("", token[:-1], f"{token}x", f"x/{token}", f"?{token}", "index.html"):
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(f"{root}/{path}")
            assert refused.value.read() == b""
            refused.value.close()
            with pytest.raises(InvalidStatus, match="404"):
                connected(f"{root}/{path}")
        for path in (token, f"{token}/", f"{token}?websocket=x"):
            with urllib.request.urlopen(f"{root}/{path}") as page:
                assert b"<html" in page.read()
        with connected(address) as connection:
            assert len(connection.recv(timeout=30)) > 0
    finally:
        viewer.stop()


def connected(address):
    protocol = f"viser-v{viser.__version__}"
    return connect(address.replace("http", "ws"), subprotocols=[protocol], proxy=None)


def test_two_pages_have_two_tokens_and_a_server_that_starts_in_another_way_is_noticed():
    addresses = set()
    for _ in range(2):
        viewer, address = server.start("127.0.0.1", 8260, "a title")
        addresses.add(address.rpartition("/")[2])
        viewer.stop()
    assert len(addresses) == 2
    with pytest.raises(RuntimeError, match="open to all"), server._behind("token"):
        pass


def test_a_refined_policy_acts_beside_a_ghost_until_another_task(point, monkeypatch):
    monkeypatch.setattr(play, "REFINE_SECONDS", 0.01)
    monkeypatch.setattr(play, "REWARD_SECONDS", 0.01)
    with served(play.load(point), 8270) as (page, _):
        until(lambda: page._known)
        page._orders.put(page._refine)
        until(lambda: "compiling" in page._status.content)
        until(lambda: "before (translucent)" in page._status.content, seconds=240.0)
        assert page.live.ghost is not None and page._scene._ghost.visible
        adapted = onebody.adapt(point, page.live.task)
        before = page._status.content.partition("before (translucent)")[2]
        assert f"predicted return {adapted.predicted_return:.1f}" in before
        assert f"real return {adapted.real_return:.1f}" in before
        ask(page, 0.5, -0.25)
        until(lambda: page.live.ghost is None and "translucent" not in page._status.content)
        until(lambda: not page._scene._ghost.visible)

        reward = expression.parse("x", page.live.family)
        page._orders.put(lambda: page._optimise_reward("x", reward))
        optimised = "optimised for the reward x, "
        until(lambda: optimised in page._status.content, seconds=240.0)
        rewarded = onebody.adapt(point, (0.5, -0.25), reward=reward, refine=0.0)
        assert f"real return {rewarded.real_return:.1f}" in page._status.content.partition("before")[2]


def test_another_task_ends_an_optimisation(point):
    with served(play.load(point), 8280) as (page, _):
        until(lambda: page._known)
        page._orders.put(page._refine)
        until(lambda: "compiling" in page._status.content)
        time.sleep(0.5)
        ask(page, 0.5, -0.25)
        until(lambda: "real return" in page._status.content, seconds=240.0)
        time.sleep(0.5)
        assert page.live.ghost is None and page._asked == pytest.approx([0.5, -0.25])


def test_the_ghost_of_a_robot_is_drawn_with_all_its_parts(playground):
    page, _ = playground
    until(lambda: page._known)
    ghost = Live(page.live.playable)
    page._orders.put(lambda: page.live.beside(ghost))
    until(lambda: page._scene._ghost.visible and page._scene._parts)
    until(lambda: all(np.any(part.position) for part in page._scene._parts.values()))
    assert len(page._scene._parts) == 7
    assert np.allclose(page._scene._ghost.position, 0.0)
    ghost._world._engine.qpos[:, 0] += 100.0
    farthest = page._scene._farthest
    until(lambda: np.linalg.norm(page._scene._ghost.position) > 90)
    apart = ghost.pose[0] - page.live.pose[0] + page._scene._ghost.position[0]
    assert apart == pytest.approx(farthest, abs=0.5) and 0.5 < farthest < 2.0
    ask(page, 0.3)
    until(lambda: not page._scene._ghost.visible)


def test_a_direction_is_followed_as_an_angle():
    chart = play_charts.Reached(None, None, registry.make("pearl/ant-dir-2d"))
    of = lambda degrees: np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])  # noqa: E731
    for i, (reached, asked) in enumerate([(90, 120), (350, 10), (200, 300)]):
        chart.follow(float(i), of(reached), of(asked))
    np.testing.assert_allclose(chart._rows, [(0, 90, 120), (1, -10, 10), (2, 200, 300)], atol=1e-4)
    speed = play_charts.Reached(None, None, registry.make("smt/cheetah-vel"))
    speed.follow(0.0, np.array([0.5]), np.array([1.0]))
    assert speed._rows == [(0.0, 0.5, 1.0)]


def test_a_file_without_a_model_has_no_button_to_refine():
    gui = viser.ViserServer(port=8290, verbose=False)
    try:
        page = play.Playground(gui, Live(playable.load(None)))
        page._background.shutdown(wait=True, cancel_futures=True)
        labels = [str(each.label) for each in gui.gui._gui_input_handle_from_uuid.values()]
        assert not any("reward" in label for label in labels)
    finally:
        gui.stop()


@pytest.fixture(scope="module")
def not_told(tmp_path_factory, unoptimised):
    out = tmp_path_factory.mktemp("play") / "hidden"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omni.OMNI, "_optimize", OPTIMIZE)  # to learn of a task, it has to move
        return loop.train("omni-hidden", "point/goal", preset="smoke", out=out, quiet=True)


def change(page, *task):
    """As a control does, of a task that is hidden."""
    page._chosen = lambda: np.array(task, np.float32)
    page._orders.put(page._begin)


def test_a_belief_narrows_around_a_hidden_task_and_begins_with_the_prior_for_another_one(not_told):
    with served(play.load(not_told), 8320) as (page, _):
        until(lambda: "episode 2" in page._status.content, seconds=120.0)
        assert "0.00 true" in page._status.content
        change(page, 0.5, -0.25)
        until(lambda: "real return" in page._status.content and "0.50 true" in page._status.content, seconds=120.0)
        for chart, true in zip(page._beliefs._charts, (0.5, -0.25), strict=True):
            _, mean, low, high, truth = np.array(chart._rows).T
            assert (truth == np.float32(true)).all() and (low <= mean).all() and (mean <= high).all()
            assert mean[-1] == pytest.approx(true, abs=0.1) and high[-1] - low[-1] < 0.2 < 0.6 < high[0] - low[0]
        tries = page.live.tries
        page._orders.put(page._begin)
        until(lambda: page._tries == tries + 1)
        page.live._simulator.on_step = lambda memory: page.live._simulator._engine.missing
        until(lambda: "AttributeError" in page._message.content, seconds=120.0)


@contextlib.contextmanager
def tab_of(address, width, height):
    """A page in a browser, and the errors of its console."""
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as driver:
        options = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=options)
        tab, errors = browser.new_page(viewport={"width": width, "height": height}), []
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.goto(address)
        yield tab, errors
        browser.close()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_slider_in_the_browser_changes_the_task(playground):
    page, address = playground
    with tab_of(address, 1280, 800) as (tab, errors):
        slider = tab.locator("[role=slider]").first
        slider.wait_for(timeout=120_000)
        before = page.live.task
        slider.focus()
        for _ in range(10):
            tab.keyboard.press("ArrowRight")
        until(lambda: np.allclose(page.live.task, before + 0.2, atol=1e-3))
        tab.get_by_text("predicted return").wait_for(timeout=60_000)
        assert not errors


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_reward_is_typed_on_a_phone(point, monkeypatch):
    """The robot is in the half of the window above the controls."""
    monkeypatch.setattr(play, "REWARD_SECONDS", 0.01)
    with served(play.load(point), 8310) as (page, address), tab_of(address, 390, 844) as (tab, errors):
        tab.get_by_text("predicted return").wait_for(timeout=120_000)
        assert tab.get_by_role("button", name="reset").bounding_box()["y"] > 422
        assert tab.get_by_text("point/goal").last.bounding_box()["y"] > 422
        until(lambda: page.page.get_clients())
        (client,) = page.page.get_clients().values()
        assert client.camera.look_at[1] < -1.0
        tab.get_by_text("a reward of your own").click()
        field = tab.locator("input:not([type])").last
        field.fill("x + foo")
        button = tab.get_by_role("button", name="optimise for")
        button.click()
        tab.get_by_text("unknown name 'foo'").wait_for()
        field.fill("x < 0.5")
        until(lambda: button.click() or page._number == 1)
        tab.get_by_text("optimised for the reward x < 0.5, ").wait_for(timeout=240_000)
        assert tab.get_by_text("unknown name 'foo'").count() == 0 and not errors


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_shows_what_a_robot_believes(not_told):
    with served(play.load(not_told), 8330) as (page, address), tab_of(address, 1280, 800) as (tab, errors):
        tab.get_by_text("The robot is not told this task").wait_for(timeout=120_000)
        slider = tab.locator("[role=slider]").first
        slider.focus()
        for _ in range(10):
            tab.keyboard.press("ArrowRight")
        tab.get_by_text("x (m): 0.20 ±").wait_for(timeout=120_000)
        tab.get_by_text("believed: x (m)").wait_for(timeout=60_000)
        tab.get_by_text("real return").wait_for(timeout=120_000)
        tries = page.live.tries
        tab.get_by_role("button", name="forget").click()
        until(lambda: page.live.tries == tries + 1, seconds=120.0)
        assert tab.get_by_role("button", name="save policy").count() == 0 and not errors


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_what_a_policy_file_says_of_itself_is_text(tmp_path):
    with np.load(playable.BUNDLED) as file:
        arrays = dict(file)
    title = '<iframe srcdoc="<script>parent.ran = 1</script>"></iframe> <b>bold</b>'
    arrays["about"] = np.array(json.dumps(json.loads(str(arrays["about"])) | {"title": title}))
    np.savez(tmp_path / "sent.npz", **arrays)
    with served(play.load(tmp_path / "sent.npz"), 8340) as (_, address), tab_of(address, 1280, 800) as (tab, _):
        tab.get_by_text("<b>bold</b>").wait_for(timeout=120_000)
        assert tab.evaluate("window.ran") is None and tab.locator("iframe").count() == 0
