"""The exported playground in a real browser, from a file and without network; without a browser, what it contains."""

import dataclasses
import functools
import json
import re
import shutil

import equinox as eqx
import jax
import mujoco
import numpy as np
import pytest

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import ConditionedPolicy, GaussianPolicy
from onebody.reports import export
from onebody.runs import npm, playable, policy_file
from onebody.tasks import registry
from onebody.tasks.body import Feature, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, middle
from onebody.worlds.engines import MujocoEngine

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FAMILIES = {
    family.body: id
    for id, family in registry.families().items()
    if id.startswith(("smt/", "pearl/")) and isinstance(family.body, MujocoBody) and family.physics is None
}.values()
"""one of each robot"""
TETRAHEDRON = "v 0 0 0\nv 0.4 0 0\nv 0 0.4 0\nv 0 0 0.4\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
MESH = """
<mujoco>
  <compiler meshdir="parts"/>
  <asset><mesh name="part" file="part.obj"/></asset>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body pos="0 0 0.5"><freejoint/><geom type="mesh" mesh="part"/></body>
    <body pos="1 0 0.5"><joint name="arm" axis="0 1 0"/><geom type="box" size="0.1 0.1 0.3"/></body>
  </worldbody>
  <actuator><motor joint="arm" ctrlrange="-2 1"/></actuator>
</mujoco>
"""


class Untrained:
    """A policy with random weights for any task of a family."""

    any_task, title, refine = True, "untrained", None

    def __init__(self, family, policy=None):
        self.family, self.training_space = family, family.space
        policy = policy or random_policy(family)
        self.first = Adapted(jax.tree.map(lambda x: jax.device_put(np.asarray(x)[None]), policy))

    def adapted(self, task):
        return self.first

    def curve(self):
        return None

    def about(self, task, adapted, reward):
        return None


def random_policy(family):
    """As a new policy, but with the random numbers of NumPy: JAX would compile programs for the sizes of each robot."""
    body, rng = family.body, np.random.default_rng(0)
    normalizers = Normalizer(body.observation_size), Normalizer(family.space.size)
    policy = eqx.filter_eval_shape(
        lambda key: ConditionedPolicy(key, (8, 8), *normalizers, body.action_size), jax.random.key(0)
    )
    weights = [rng.standard_normal(x.shape, np.float32) / np.float32(np.sqrt(len(x))) for x in policy.net.weights]
    weights[-1] *= 0.01
    biases = [np.zeros(x.shape, np.float32) for x in policy.net.biases]
    parts = lambda p: (p.net.weights, p.net.biases, p.observation, p.task)  # noqa: E731
    return eqx.tree_at(parts, policy, (weights, biases, *normalizers))


def family_of(body, **changes):
    def zero(observation, action, next_observation, task):
        return 0.0 * task[0]

    return TaskFamily(id="test/own", body=body, space=Box((0.0,), (1.0,)), reward=zero, horizon=10, **changes)


@pytest.fixture
def meshes(tmp_path):
    """A family whose robot has a mesh."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part.obj").write_text(TETRAHEDRON)
    (tmp_path / "robot.xml").write_text(MESH)
    observation = (Feature("qpos"), Feature("qvel", limit=0.5))
    return family_of(MujocoBody("mesh", tmp_path / "robot.xml", frame_skip=2, observation=observation))


def simulated(robot, start, steps):
    """Observations [step, observation] of the deterministic policy for the first task, by the simulator."""

    def fixed(rng, model, n):
        return np.array([start["qpos"]]), np.array([start["qvel"]])

    engine = MujocoEngine(dataclasses.replace(robot.family.body, start=fixed), 1, 1)
    act = policy_file.actor(policy_file.arrays(robot.first.policies, middle(robot.family.space)))
    rows = [engine.reset(np.arange(1), [(np.random.default_rng(0), 1)])]
    for _ in range(steps):
        rows.append(engine.step(act(rows[-1])))
    return np.concatenate(rows)


@pytest.mark.parametrize("id", FAMILIES)
def test_the_observation_map_gives_the_observation_of_the_simulator(id):
    body = registry.make(id).body
    engine = MujocoEngine(body, 1, 1)
    engine.reset(np.arange(1), [(np.random.default_rng(0), 1)])
    rng = np.random.default_rng(1)
    for _ in range(3):
        expected = engine.step(rng.uniform(-1, 1, (1, body.action_size)))[0]
    fields = {feature.field: engine.batch.bind(feature.field)[0].ravel() for feature in body.observation}
    parts = json.loads(json.dumps(export.observation_map(body)))
    made = [
        np.clip(fields[part["field"]][part["indices"]], *((-1, 1) * np.array(part["limit"] or np.inf)))
        for part in parts
    ]
    np.testing.assert_array_equal(np.concatenate(made).astype(np.float32), expected)


@pytest.mark.parametrize("id", FAMILIES)
def test_the_saved_model_is_the_model_of_the_body(id):
    """MJCF with the fields that differ from it, as the page puts them together."""
    body = registry.make(id).body
    saved = export.about(Untrained(registry.make(id)))["model"]
    model = mujoco.MjModel.from_xml_string(saved["xml"])
    for name, values in saved["fields"].items():
        getattr(model, name)[:] = np.reshape(values, getattr(model, name).shape)
    for name, value in saved["options"].items():
        setattr(model.opt, name, value)
    for name in (name for name in dir(body.model) if not name.startswith(("_", "bvh_"))):
        wanted = getattr(body.model, name)
        if isinstance(wanted, np.ndarray) and wanted.dtype.kind == "f":
            np.testing.assert_array_equal(getattr(model, name), wanted, err_msg=name)
    assert model.opt.timestep == body.model.opt.timestep and model.opt.disableflags == body.model.opt.disableflags


@pytest.mark.parametrize(("id", "column"), [("smt/cheetah-vel", 17), ("smt/ant-vel-2d", 36), ("pearl/cheetah-vel", 17)])
def test_what_is_achieved_is_a_matrix(id, column):
    family = registry.make(id)
    matrices = export.about(Untrained(family))["achieved"]
    old, new = np.random.default_rng(0).standard_normal((2, family.body.observation_size)).astype(np.float32)
    expected = family.achieved(jax.device_put(old), jax.device_put(new))
    made = np.array(matrices["before"]) @ old + np.array(matrices["after"]) @ new
    np.testing.assert_allclose(made, expected, rtol=1e-4)
    assert matrices["after"][0][column]


def test_what_is_achieved_is_left_out_if_it_is_no_linear_function():
    family = registry.make("smt/cheetah-vel")
    curved = dataclasses.replace(family, achieved=lambda observation, after: after[17:18] ** 2)
    assert export.about(Untrained(curved))["achieved"] is None


def test_the_controls_are_those_of_the_space():
    def task(id):
        return export.about(Untrained(registry.make(id)))["task"]

    [slider] = task("smt/cheetah-vel")["sliders"]
    assert slider == {"name": "forward velocity (m/s)", "marks": [0.0, 2.0], "low": -0.5, "high": 2.5}
    assert len(task("pearl/ant-goal")["sliders"]) == 2
    assert task("pearl/ant-dir-2d")["angle"] == 360
    assert task("smt/cheetah-dir")["choices"] == ((-1.0,), (1.0,))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (lambda: registry.make("point/goal"), "body point is not a MuJoCo robot"),
        (lambda: registry.make("pearl/walker-params"), "its dynamics vary with the task"),
        (lambda: registry.make("mbmpo/hopper"), "its terminal function is not among those"),
        (
            lambda: family_of(MujocoBody("own", registry.make("smt/ant-vel").body.mjcf.__call__, 1)),
            "body own cannot be exported: a function compiles its model",
        ),
        (
            lambda: family_of(dataclasses.replace(registry.make("smt/ant-vel").body, observation=(Feature("time"),))),
            "the page has no time of MjData",
        ),
    ],
)
def test_what_the_page_cannot_do_is_refused(family, message):
    with pytest.raises(OnebodyError, match=message):
        export.about(Untrained(family()))


def test_a_policy_that_does_not_see_the_task_is_refused():
    family = registry.make("smt/cheetah-vel")
    policy = GaussianPolicy(jax.random.key(0), (8,), Normalizer(family.body.observation_size), 6)
    with pytest.raises(OnebodyError, match="untrained has no policy of the kind that acts on any task"):
        export.about(Untrained(family, policy))


def test_a_missing_mesh_is_refused(meshes):
    robot = Untrained(meshes)
    assert [*export.about(robot)["model"]["files"]] == ["parts/part.obj"]
    (meshes.body.mjcf.parent / "parts" / "part.obj").unlink()
    with pytest.raises(OnebodyError, match=r"body mesh cannot be exported: .*part\.obj"):
        export.about(robot)


def test_the_page_holds_its_parts_their_licences_and_no_address(monkeypatch):
    """Whatever the names are; packages that were not downloaded stand in."""
    sources = {name: name.encode() for name in ("mujoco.js", "mujoco.wasm", "LICENSE", "build/three.core.js")}
    sources |= dict.fromkeys(("build/three.module.js", "examples/jsm/controls/OrbitControls.js"), b"three")
    monkeypatch.setattr(npm, "read", lambda *packages: [sources] * len(packages))
    robot = Untrained(registry.make("smt/cheetah-vel"))
    robot.title = "</script><b>"
    page = export.page(export.about(robot))
    assert "Version 2.0, January 2004" in page and "MIT License, https://threejs.org\n\nLICENSE" in page
    assert "</script><b>" not in page
    [document] = re.findall('<script type="application/json" id="about">(.*?)</script>', page)
    assert json.loads(document)["title"] == robot.title
    assert re.findall('data-module="([^"]*)"', page) == [
        "./three.core.js",
        "three",
        "orbit",
        "mujoco",
        *(f"./{name}" for name in export.MODULES),
    ]
    assert not re.search("(src|href)=", page.split("<body>")[1])


def test_a_file_that_is_no_page_is_refused(tmp_path):
    with pytest.raises(OnebodyError, match=r"must end in \.html"):
        export.export(None, tmp_path / "page.txt")


@pytest.fixture(scope="module")
def chromium():
    sync = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync.sync_playwright() as driver:
        options = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def packed():
    """What is the same in all pages is read and compressed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npm, "read", functools.cache(npm.read))
        patch.setattr(export, "_packed", functools.cache(export._packed))
        yield


@pytest.fixture
def opened(chromium, packed, tmp_path):
    """A function that opens the page of a robot from a file, without network; checked at the end for what it asked for
    and for errors."""
    try:
        npm.read(export.MUJOCO, export.THREE)
    except OnebodyError as error:
        pytest.skip(str(error))
    context, asked, errors = chromium.new_context(viewport={"width": 400, "height": 300}), [], []
    context.set_offline(True)

    def open_page(robot):
        file = tmp_path / "page.html"
        file.write_text(export.page(export.about(robot)))
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(file.as_uri())
        tab.wait_for_function("window.onebody", timeout=60_000)
        return tab

    yield open_page
    context.close()
    assert not errors
    assert all(re.match("file:|data:|blob:", address) for address in asked)


def rollout_in(tab, start, steps):
    tab.evaluate("onebody.step(0)")
    return tab.evaluate(
        "([start, steps]) => { onebody.reset(start); const rows = [onebody.observation()];"
        "for (let i = 0; i < steps; i++) { onebody.step(); rows.push(onebody.observation()); } return rows; }",
        [start, steps],
    )


def first_start(robot):
    return {name: rows[0] for name, rows in export.about(robot)["starts"].items()}


def test_the_slider_changes_the_velocity_in_the_browser(opened):
    robot = playable.load(None)
    tab = opened(robot)
    np.testing.assert_allclose(
        rollout_in(tab, first_start(robot), 50), simulated(robot, first_start(robot), 50), atol=1e-3
    )
    slider = tab.get_by_role("slider", name="forward velocity (m/s)")
    for velocity in ("1.9", "0.5"):
        slider.fill(velocity)
        tab.evaluate("onebody.step(300)")
        assert tab.evaluate("onebody.reached()") == pytest.approx([float(velocity)], abs=0.2)
        at = robot.curve().at(float(velocity))
        tab.get_by_text(f"predicted return {at.mean:.1f} ({at.low:.1f} to {at.high:.1f})").wait_for()
    slider.fill("2.5")
    tab.get_by_text("outside the space that training sampled tasks from").wait_for()
    before = tab.evaluate("onebody.observation()")
    tab.get_by_role("button", name="push").click()
    assert np.abs(np.subtract(tab.evaluate("onebody.observation()"), before)[8:17]).max() > 0.1
    tab.evaluate("onebody.play()")
    tab.wait_for_function(f"onebody.observation()[0] != {before[0]}")


@pytest.mark.parametrize(
    "id",
    [
        "smt/ant-crippled-test",
        "pearl/humanoid-dir",
        pytest.param("smt/humanoid-vel", marks=pytest.mark.slow),
        pytest.param("pearl/cheetah-vel", marks=pytest.mark.slow),
    ],
)
def test_a_robot_moves_as_in_the_simulator(opened, id):
    """Until its episode ends."""
    robot = Untrained(registry.make(id))
    start = first_start(robot)
    expected = simulated(robot, start, 50)
    task, terminal = robot.family.space.held_out(1)[0], robot.family.terminal
    ended = np.flatnonzero([bool(terminal(row, task)) for row in jax.device_put(expected)])
    rows = expected[: ended[0]] if len(ended) else expected
    assert len(rows) > 10
    np.testing.assert_allclose(rollout_in(opened(robot), start, 50)[: len(rows)], rows, atol=1e-3)


def test_predictions_that_nothing_calibrated_have_no_interval(opened):
    """As after training from logs alone."""
    robot, grid = Untrained(registry.make("smt/cheetah-vel")), np.linspace(0.0, 2.0, 3)
    robot.curve = lambda: playable.Curve(grid, -grid, np.ones(3))
    assert export.about(robot)["curve"] == {"task": [0, 1, 2], "mean": [0, -1, -2], "novelty": [1, 1, 1]}
    tab = opened(robot)
    tab.get_by_role("slider", name="forward velocity (m/s)").fill("1.5")
    tab.get_by_text(re.compile(r"predicted return -1\.5$")).wait_for()


def test_an_episode_begins_again_after_a_fall(opened):
    robot = Untrained(registry.make("smt/ant-vel"))
    start = first_start(robot)
    start["qpos"][2] = 1.5
    assert 0.2 < rollout_in(opened(robot), start, 1)[1][0] < 1.0


def test_a_mesh_moves_as_in_the_simulator(opened, meshes):
    robot = Untrained(meshes)
    start = first_start(robot)
    np.testing.assert_allclose(rollout_in(opened(robot), start, 50), simulated(robot, start, 50), atol=1e-3)
