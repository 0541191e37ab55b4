import itertools
import threading

import jax
import jax.numpy as jnp
import pytest

from onebody.algorithms import adaptation
from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.learning.policies import UniformPolicy, for_each
from onebody.tasks import registry
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
TASKS = FAMILY.space.held_out(7)


def stages(stage):
    """What each task's learner, a list of returns, has come to after two stages."""
    nothing = Adapted(for_each(UniformPolicy(2), len(TASKS)))
    learners = [[] for _ in TASKS]
    seen = []

    def adapted(learners):
        seen.append(learners)
        return nothing

    key = jax.random.key(0)
    list(itertools.islice(adaptation.task_by_task(learners, TASKS, key, adapted, stage), 3))
    return seen


def test_threads_share_a_simulator_and_each_task_has_its_own_results(monkeypatch):
    """The same as with one thread; all samples are counted."""
    result, used = [], set()
    for cores in (1, 4):
        monkeypatch.setattr(adaptation, "CORES", cores)
        simulator = Simulator(FAMILY)

        def stage(learner, task, key, simulator=simulator):
            used.add(threading.get_ident())
            own = rollout(simulator, for_each(UniformPolicy(2), 1), task, key, episodes=2)
            return [*learner, float(own.reward.sum())]

        result.append(stages(stage))
        assert simulator.samples == 2 * len(TASKS) * 2 * FAMILY.horizon
    assert result[0] == result[1] and len(used) > 2
    assert [len(learner) for learner in result[0][2]] == [2] * len(TASKS)
    assert len({tuple(learner) for learner in result[0][2]}) == len(TASKS)


def test_an_error_in_one_of_them_is_raised_and_no_thread_is_left():
    before = threading.active_count()

    def stage(learner, task, key):
        if jnp.array_equal(task[0], TASKS[3]):
            raise OnebodyError("no")
        return learner

    with pytest.raises(OnebodyError, match="no"):
        stages(stage)
    assert threading.active_count() == before
