"""Rows of many tasks: each is drawn from its own, recent data from its last visit alone."""

import jax
import numpy as np
import pytest

from onebody.learning.task_replay import Rows, TaskReplay

TASKS, INITIAL, LENGTH, RECENT = 3, 4, 6, 2


def rows(tasks, n, first):
    """Rows whose reward is their task, whose signal counts up from `first`."""
    shape = (len(tasks), n)
    task = np.broadcast_to(np.float32(tasks)[:, None], shape)
    count = first + np.arange(len(tasks) * n, dtype=np.float32).reshape(shape)
    ones = np.ones((*shape, 1), np.float32)
    return Rows(ones * count[..., None], ones, task, count, ones, np.zeros(shape, np.float32))


visit = jax.jit(TaskReplay.visit)
draw, draw_recent = (jax.jit(each, static_argnums=3) for each in (TaskReplay.draw, TaskReplay.draw_recent))


@pytest.fixture
def begun():
    begin = jax.jit(lambda rows: TaskReplay.empty(TASKS, 5, INITIAL, LENGTH, RECENT, 1, 1).begin(rows))
    return begin(rows(range(TASKS), INITIAL, 0))


@pytest.fixture
def visited(begun):
    """Tasks 2 and 0 at once, then task 2."""
    first = visit(begun, np.int32([2, 0]), rows([2, 0], LENGTH, 100))
    return visit(first, np.int32([2]), rows([2], LENGTH, 200))


def drawn(replay, recent=False):
    take = draw_recent if recent else draw
    result = jax.tree.map(np.asarray, take(replay, jax.random.key(0), np.arange(TASKS, dtype=np.int32), 500))
    np.testing.assert_array_equal(result.observation[..., 0], result.signal)
    return [set(signal.tolist()) for signal in result.signal], result.reward


def test_each_task_is_drawn_from_its_own_rows_and_from_all_of_them(visited):
    result, task = drawn(visited)
    assert (task == np.arange(TASKS)[:, None]).all()
    assert result[0] == {*range(4), *range(106, 112)}
    assert result[1] == {*range(4, 8)}
    assert result[2] == {*range(8, 12), *range(100, 106), *range(200, 206)}


def test_recent_data_are_the_first_rows_of_the_last_visit(begun, visited):
    assert drawn(begun, recent=True)[0] == [{*range(4)}, {*range(4, 8)}, {*range(8, 12)}]
    result, task = drawn(visited, recent=True)
    assert result == [{106, 107}, {*range(4, 8)}, {200, 201}]
    assert (task == np.arange(TASKS)[:, None]).all()


def test_a_task_drawn_twice_in_an_iteration_has_two_visits(begun):
    replay = visit(begun, np.int32([1, 1]), rows([1, 1], LENGTH, 100))
    assert drawn(replay)[0][1] == {*range(4, 8), *range(100, 112)}
    assert drawn(replay, recent=True)[0][1] == {106, 107}
    assert replay.n == 2 and replay.n_visits.tolist() == [0, 2, 0]


def test_draws_are_uniform_over_all_rows_of_a_task(begun):
    replay = visit(begun, np.int32([0]), rows([0], LENGTH, 100))
    result = draw(replay, jax.random.key(1), np.int32([0]), 20_000).signal
    share = np.unique(np.asarray(result), return_counts=True)[1] / 20_000
    assert len(share) == INITIAL + LENGTH and np.abs(share - 0.1).max() < 0.01
