"""Bodies in the three-dimensional scene of the playground."""

from collections import defaultdict
from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float

from onebody.tasks.body import MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import bare

GHOST = {"color": (90, 90, 90), "opacity": 0.35, "cast_shadow": False}


@runtime_checkable
class Shown(Protocol):
    """A robot that acts, as `runs.live.Live` is."""

    family: TaskFamily
    task: Float[np.ndarray, " feature"]

    @property
    def pose(self) -> Float[np.ndarray, " pose"]:
        """Joint positions of a robot, otherwise the observation."""
        ...

    @property
    def ghost(self) -> "Shown | None":
        """A second robot."""
        ...


def of(page: Any, live: Shown) -> "Robot | Point":
    """The scene of a robot."""
    return Robot(page, live) if isinstance(bare(live.family.body), MujocoBody) else Point(page, live)


class Robot:
    """A MuJoCo robot in the scene, in the middle of the page, and its translucent ghost."""

    def __init__(self, page: Any, live: Shown):
        from mjviser import ViserMujocoScene

        body = bare(live.family.body)
        assert isinstance(body, MujocoBody)
        self._page, self._live, self._model = page, live, body.model
        self._data = mujoco.MjData(self._model)
        self._scene = ViserMujocoScene(page, self._model, 1)
        self._ghost = page.scene.add_frame("/fixed_bodies/ghost", show_axes=False, visible=False)
        self._parts: dict[int, Any] = {}
        """of the ghost, by the number of the body in MuJoCo"""
        distance = 3.0 * (size := self._size())
        self._farthest = 1.5 * size
        """distance (m) from the robot at which its ghost is shown at most"""

        @page.on_client_connect
        def _(client: Any) -> None:
            client.camera.position = (0.0, -distance, 0.4 * distance)
            below = 0.5 if _is_upright(client) else 0.0
            client.camera.look_at = (0.0, 0.0, -below * distance)

    def show(self) -> None:
        self._move_to(self._live.pose)
        self._scene.update_from_mjdata(self._data)
        self._show_ghost(self._data.xpos[1].copy())

    def _size(self) -> float:
        """Greatest distance (m) of a part of the robot from its first body."""
        mujoco.mj_forward(self._model, self._data)
        parts = self._model.geom_bodyid > 0
        away = np.linalg.norm(self._data.geom_xpos[parts] - self._data.xpos[1], axis=1)
        return float((away + self._model.geom_rbound[parts]).max())

    def _move_to(self, pose: np.ndarray) -> None:
        self._data.qpos[:] = pose
        mujoco.mj_forward(self._model, self._data)

    def _show_ghost(self, place: np.ndarray) -> None:
        """`place`: of the robot (m)."""
        ghost = self._live.ghost
        self._ghost.visible = ghost is not None
        if ghost is None:
            return
        self._parts = self._parts or self._add_parts()
        self._move_to(ghost.pose)
        away = self._data.xpos[1] - place
        excess = 1.0 - min(1.0, self._farthest / max(1e-9, float(np.linalg.norm(away))))
        with self._page.atomic():
            self._ghost.position = -excess * away
            for body, part in self._parts.items():
                part.position, part.wxyz = self._data.xpos[body], self._data.xquat[body]

    def _add_parts(self) -> dict[int, Any]:
        from mjviser.conversions import is_fixed_body, merge_geoms

        shapes, add = defaultdict(list), self._page.scene.add_mesh_simple
        for shape, body in enumerate(self._model.geom_bodyid.tolist()):
            if not is_fixed_body(self._model, body) and self._model.geom_rgba[shape, 3] > 0:
                shapes[body].append(shape)
        meshes = {body: merge_geoms(self._model, of_body) for body, of_body in shapes.items()}
        return {
            body: add(f"/fixed_bodies/ghost/{body}", np.asarray(mesh.vertices), np.asarray(mesh.faces), **GHOST)
            for body, mesh in meshes.items()
        }


class Point:
    """A point robot in the plane, its translucent ghost, and the task as a place if it is one."""

    def __init__(self, page: Any, live: Shown):
        self._live = live
        self._robot = page.scene.add_icosphere("/robot", 0.05, color=(31, 111, 181))
        self._ghost = page.scene.add_icosphere("/ghost", 0.05, visible=False, **GHOST)
        self._goal = page.scene.add_icosphere("/goal", 0.08, color=(194, 87, 26), opacity=0.5)
        page.scene.add_grid("/ground", 4.0, 4.0, cell_size=0.5)

        @page.on_client_connect
        def _(client: Any) -> None:
            below = 1.3 if _is_upright(client) else 0.0
            client.camera.position, client.camera.look_at = (0.0, -1.5 - below, 3.5 + below), (0.0, -below, 0.0)

    def show(self) -> None:
        task, ghost = self._live.task, self._live.ghost
        self._robot.position = (*self._live.pose[:2].tolist(), 0.0)
        self._ghost.visible = ghost is not None
        if ghost is not None:
            self._ghost.position = (*ghost.pose[:2].tolist(), 0.0)
        self._goal.visible = task.shape == (2,)
        if self._goal.visible:
            self._goal.position = (*task.tolist(), 0.0)


def _is_upright(client: Any) -> bool:
    """Whether the window is higher than wide, as on a phone, where the controls cover its lower half."""
    return client.camera.aspect < 1.0
