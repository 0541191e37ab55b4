"""Bodies in the three-dimensional scene of the playground."""

from typing import Any

import mujoco
import numpy as np

from onebody.runs.live import Live
from onebody.tasks.body import MujocoBody


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
