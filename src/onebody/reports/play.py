"""The playground: a trained robot in the browser, in real time, with a control for each number of its task."""

import contextlib
import io
import math
import queue
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import matplotlib
import mujoco
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import NotFinite, OnebodyError
from onebody.runs import evaluate, playable
from onebody.runs.adapt import MAX_NOVELTY
from onebody.runs.live import Live
from onebody.tasks.body import MujocoBody
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, TaskSpace
from onebody.worlds.camera import check_drawable

FRAMES = 25
"""images of the robot per second"""
SHOWN_SECONDS = 8.0
"""time that the chart of what the robot achieves goes back"""
SETTLED = 0.3
"""time (s) after which a task counts as chosen, and real episodes are simulated"""
COLORS = ("#1f6fb5", "#c2571a")
"""of what the robot reached, and of what was asked for or predicted"""


def play(path: Path | None, host: str = "127.0.0.1", port: int = 8080, on_ready: Callable[[str], None] = print) -> None:
    """Serve the playground of a run, or of a file with a policy for any task, until it is interrupted.

    Args:
        path: None: the policy that comes with the package.
        on_ready: called with the address once the page can be opened.

    Raises:
        OnebodyError: the extra `play` is not installed; the robot cannot be drawn; or as `playable.load`.
    """
    viser = _viser()
    _check_address(host, port)
    live = Live(playable.load(path))
    check_drawable(live.family.body)
    with contextlib.redirect_stdout(io.StringIO()):  # its own note of the address
        server = viser.ViserServer(host=host, port=port, label=f"onebody: {live.family.id}", verbose=False)
    try:
        Playground(server, live).serve(lambda: on_ready(f"http://{host}:{server.get_port()}"))
    finally:
        server.stop()


def _check_address(host: str, port: int) -> None:
    if not 0 < port < 2**16:
        raise OnebodyError(f"--port must be from 1 to 65535, not {port}")
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise OnebodyError(f"--host {host} is no address of this machine ({error.strerror})") from error


def _viser() -> Any:
    try:
        import mjviser  # noqa: F401
        import viser
    except ImportError as error:
        raise OnebodyError("onebody play needs: pip install 'onebody[play]'") from error
    return viser


class Playground:
    """The page of one live robot. Only `serve`'s thread moves the robot; others send it what to do."""

    def __init__(self, server: Any, live: Live):
        self.server, self.live = server, live
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1)
        self._wanted = 0
        """number of the newest task that was asked for; older ones are not computed"""
        self._history: list[tuple[float, float, float]] = []
        """time (s), what was achieved and what was asked for, of the first number of the task"""
        self._real: list[tuple[np.ndarray, float]] = []
        """tasks that were asked for, and their real returns"""
        self._predicted: tuple[np.ndarray, Adapted] | None = None
        self.scene = Robot(server, live) if isinstance(live.family.body, MujocoBody) else Point(server, live)
        self._of_any_task = live.playable.predict(live.task[None]) if live.playable.any_task else None
        self._along = playable.curve_of(live.family.space) if live.playable.any_task else None
        """tasks of one number for which returns are predicted once; None: they are predicted for each task"""
        self._build()
        self._background.submit(self._study, live.task, self._wanted)

    def serve(self, on_ready: Callable[[], None], until: Callable[[], bool] = lambda: False) -> None:
        """Move the robot in real time."""
        dt = self.live.family.body.dt
        every = max(1, round(1 / (FRAMES * dt)))
        self.scene.show()
        on_ready()
        began, steps = time.monotonic(), 0
        try:
            while not until():
                while not self._orders.empty():
                    self._orders.get()()
                self._step(steps * dt)
                steps += 1
                if steps % every == 0:
                    self.scene.show()
                if steps % (FRAMES * every // 2) == 0:
                    self._show_history()
                late = time.monotonic() - began - steps * dt
                if late > 1.0:  # too slow for real time, or the process was stopped: go on from now
                    began += late
                time.sleep(max(0.0, -late))
        finally:
            self._background.shutdown(wait=False, cancel_futures=True)

    def _step(self, seconds: float) -> None:
        try:
            self.live.step()
        except NotFinite as error:
            self.live.reset()
            self._status.content = f"{error}; the robot begins again"
        if (achieved := self.live.achieved) is not None:
            self._history.append((seconds, float(achieved[0]), float(self.live.task[0])))
            self._history = [row for row in self._history if row[0] > seconds - SHOWN_SECONDS]

    def _build(self) -> None:
        gui, family = self.server.gui, self.live.family
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.add_markdown(f"**{family.id}**: {self.live.playable.title}")
        _control(gui, family.space, family.task_names, self.live.task, self._ask)
        self._status = gui.add_markdown("")
        for label, order in (("push", self.live.push), ("reset", self.live.reset)):
            gui.add_button(label).on_click(lambda _, order=order: self._orders.put(order))
        gui.add_button("save policy").on_click(lambda _: self._orders.put(self._save))
        self._chart: Any = None
        self._curve = gui.add_html("")
        self._say()

    def _ask(self, task: np.ndarray) -> None:
        """Act on another task: at once, or as soon as its policy is optimised."""
        self._wanted += 1
        if self._of_any_task is None:
            self._status.content = "optimising a policy for this task inside the model …"
        else:
            self._act(task, self._of_any_task)
        self._background.submit(self._study, task, self._wanted)

    def _act(self, task: np.ndarray, adapted: Adapted) -> None:
        self._orders.put(lambda: self.live.act_on(task, adapted))
        self._say(task)

    def _study(self, task: np.ndarray, number: int) -> None:
        """In the background, once a task has been chosen: the policy for it, unless there is one for any task; what is
        predicted; and the mean return of ten real episodes from their beginning, as `onebody adapt` reports it."""
        time.sleep(SETTLED)
        if number != self._wanted:
            return
        try:
            if self._along is None or self._predicted is None:
                tasks = task[None] if self._along is None else self._along
                self._predicted = tasks, self.live.playable.predict(tasks)
            adapted = self._of_any_task or self._predicted[1]
            self._act(task, adapted)
            real = evaluate.real_return(self.live.family, adapted.policies, jax.device_put(task[None]))
        except OnebodyError as error:
            self._status.content = str(error)
            return
        self._real.append((task, float(real.mean())))
        self._draw()

    def _say(self, task: np.ndarray | None = None) -> None:
        """The task, its predicted return, and a warning where the policy or the model is not to be trusted."""
        task = self.live.task if task is None else task
        lines = []
        if self._predicted is not None:
            tasks, adapted = self._predicted
            i = int(np.argmin(np.abs(tasks - task).sum(1)))
            if adapted.predicted_return is not None:
                text = f"predicted return {float(adapted.predicted_return[i]):.1f}"
                if adapted.predicted_interval is not None:
                    low, high = np.asarray(adapted.predicted_interval[i])
                    text += f" ({low:.1f} to {high:.1f})"
                lines.append(text)
            if adapted.novelty is not None and float(adapted.novelty[i]) > MAX_NOVELTY:
                lines.append("the models disagree about what this policy does, so the prediction may be wrong")
        if not self.live.playable.training_space.contains(task):
            lines.append("outside the space that training sampled tasks from")
        self._status.content = "  \n".join(lines)

    def _save(self) -> None:
        numbers = ",".join(f"{x:.4g}" for x in self.live.task)
        path = self.live.save(Path(f"policy-{numbers}.npz" if numbers else "policy.npz"))
        self._status.content = f"saved: {path.absolute()}"

    def _show_history(self) -> None:
        if len(self._history) < 2:
            return
        import viser.uplot as uplot

        data = tuple(np.ascontiguousarray(column) for column in np.array(self._history).T)
        if self._chart is None:
            name = self.live.family.task_names[0]
            self._chart = self.server.gui.add_uplot(
                data,
                (
                    uplot.Series(label="time (s)"),
                    uplot.Series(label=f"reached: {name}", stroke=COLORS[0], width=2),
                    uplot.Series(label="asked for", stroke=COLORS[1], width=2, dash=(6, 4)),
                ),
                scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=False, range=self._range())},
                aspect=2.0,
            )
        else:
            self._chart.data = data

    def _range(self) -> tuple[float, float]:
        """Of the axis of what is reached: that of the slider, and as far beyond it again."""
        space = playable.whole(self.live.family.space)
        radius = space.radius if isinstance(space, Disk) else 1.0
        low, high = (space.low[0], space.high[0]) if isinstance(space, Box) else (-radius, radius)
        margin = 2 * playable.MARGIN * (high - low)
        return low - margin, high + margin

    def _draw(self) -> None:
        """The predicted return over the task with its interval, and a dot for each real return."""
        if self.live.family.space.size != 1:
            return
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot(xlabel=self.live.family.task_names[0], ylabel="return")
        if self._predicted is not None:
            tasks, adapted = self._predicted
            marker = "-" if len(tasks) > 1 else "_"
            if adapted.predicted_return is not None:
                axes.plot(tasks[:, 0], adapted.predicted_return, marker, color=COLORS[1], label="predicted")
            if adapted.predicted_interval is not None:
                axes.fill_between(tasks[:, 0], *np.asarray(adapted.predicted_interval).T, alpha=0.2, color=COLORS[1])
        if self._real:
            axes.plot(
                *zip(*((task[0], total) for task, total in self._real), strict=True),
                "o",
                color=COLORS[0],
                label="real, mean of 10 episodes",
            )
        space = playable.whole(self.live.playable.training_space)
        if isinstance(space, Box):
            low, high = axes.get_xlim()
            axes.axvspan(low, space.low[0], color="#888888", alpha=0.15, lw=0)
            axes.axvspan(space.high[0], high, color="#888888", alpha=0.15, lw=0)
            axes.set_xlim(low, high)
        axes.legend(frameon=False)
        text = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": "onebody", "svg.fonttype": "none"}):
            figure.savefig(text, format="svg", metadata={"Date": None})
        drawing = text.getvalue()
        self._curve.content = re.sub(
            r'width="[^"]*" height="[^"]*"|height="[^"]*" width="[^"]*"',
            'width="100%"',
            drawing[drawing.index("<svg") :],
            count=1,
        )


class Robot:
    """A MuJoCo robot in the scene, in the middle of the page."""

    def __init__(self, server: Any, live: Live):
        from mjviser import ViserMujocoScene

        assert isinstance(live.family.body, MujocoBody)
        self._live, self._model = live, live.family.body.model
        self._data = mujoco.MjData(self._model)
        self._scene = ViserMujocoScene(server, self._model, 1)
        distance = 3.0 * self._size()

        @server.on_client_connect
        def _(client: Any) -> None:
            side = 0.2 * distance  # the controls are on the right
            client.camera.position = (side, -distance, 0.4 * distance)
            client.camera.look_at = (side, 0.0, 0.0)

    def _size(self) -> float:
        """Greatest distance (m) of a part of the robot from its first body."""
        mujoco.mj_forward(self._model, self._data)
        parts = self._model.geom_bodyid > 0
        away = np.linalg.norm(self._data.geom_xpos[parts] - self._data.xpos[1], axis=1)
        return float((away + self._model.geom_rbound[parts]).max())

    def show(self) -> None:
        self._data.qpos[:] = self._live.pose
        mujoco.mj_forward(self._model, self._data)
        self._scene.update_from_mjdata(self._data)


class Point:
    """A point robot in the plane, and the task as a place if it is one."""

    def __init__(self, server: Any, live: Live):
        self._live = live
        self._robot = server.scene.add_icosphere("/robot", 0.05, color=(31, 111, 181))
        self._goal = server.scene.add_icosphere("/goal", 0.08, color=(194, 87, 26), opacity=0.5)
        server.scene.add_grid("/ground", 4.0, 4.0, cell_size=0.5)

        @server.on_client_connect
        def _(client: Any) -> None:
            client.camera.position, client.camera.look_at = (0.0, -1.5, 3.5), (0.0, 0.0, 0.0)

    def show(self) -> None:
        task = self._live.task
        self._robot.position = (*self._live.pose[:2].tolist(), 0.0)
        self._goal.visible = task.shape == (2,)
        if self._goal.visible:
            self._goal.position = (*task.tolist(), 0.0)


def _control(
    gui: Any, space: TaskSpace, names: tuple[str, ...], first: np.ndarray, ask: Callable[[np.ndarray], None]
) -> None:
    """Controls for a task: a slider per number, one for the angle of a direction, or a choice among a few tasks."""
    inner = playable.whole(space)
    if isinstance(inner, FiniteSet):
        if inner.size:
            options = {", ".join(f"{x:g}" for x in task): np.array(task, np.float32) for task in inner.tasks}
            choice = gui.add_dropdown(", ".join(names), tuple(options))
            choice.on_update(lambda _: ask(options[choice.value]))
        return
    if isinstance(inner, Arc):
        degrees = round(math.degrees(math.atan2(first[1], first[0])) % 360)
        dial = gui.add_slider("direction (°)", 0, round(math.degrees(inner.angle)), 1, degrees)

        def turn(_: Any) -> None:
            angle = math.radians(dial.value)
            ask(np.array([math.cos(angle), math.sin(angle)], np.float32))

        dial.on_update(turn)
        return
    low, high = (-inner.radius, inner.radius) if isinstance(inner, Disk) else (None, None)
    corners = inner if isinstance(inner, Box) else Box((low or -1.0,) * inner.size, (high or 1.0,) * inner.size)
    wide = corners.widened(1 + 2 * playable.MARGIN)
    sliders = [
        gui.add_slider(name, low, high, (high - low) / 100, float(x), marks=((a, f"{a:g}"), (b, f"{b:g}")))
        for name, low, high, a, b, x in zip(names, wide.low, wide.high, corners.low, corners.high, first, strict=True)
    ]
    for slider in sliders:
        slider.on_update(lambda _: ask(np.array([each.value for each in sliders], np.float32)))
