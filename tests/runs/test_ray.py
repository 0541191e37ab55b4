"""Jobs on a Ray cluster of two nodes, and through submitit: the same bytes as in order, also when a node is lost."""

import json
import os
import signal
import threading

import pytest

from onebody.runs import executors, lock, log
from onebody.runs.executors import InOrder, Ray, Slurm
from tests.runs.test_executors import full, job, state_hash, until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(monkeypatch):
    """A head without cores and two nodes of one core each."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 100 * 2**20}
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
    nodes = [made.add_node(num_cpus=1, **memory) for _ in range(2)]
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def four(folder):
    config = full("trpo", {"n_iterations": 60})
    return [job(folder, seed=seed, config=config) for seed in range(4)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The hashes of the four jobs, done in order."""
    todo = four(tmp_path_factory.mktemp("in-order"))
    executors.do_all(todo, InOrder(quiet=True), quiet=True)
    return [state_hash(each.out) for each in todo]


def test_two_nodes_give_the_bytes_of_one_process(tmp_path, cluster, expected):
    made, _ = cluster
    todo = four(tmp_path)
    executors.do_all(todo, Ray(made.address, 1), quiet=True)
    assert [state_hash(each.out) for each in todo] == expected


@pytest.mark.parametrize("fault", ["node", "worker"])
def test_a_lost_node_or_a_killed_worker_loses_nothing(tmp_path, cluster, expected, fault):
    made, nodes = cluster
    todo = four(tmp_path)
    done = threading.Thread(target=executors.do_all, args=(todo, Ray(made.address, 1), True))
    done.start()
    begun = lambda: [each for each in todo if len(log.read(each.out)) >= 2 and (each.out / lock.NAME).exists()]  # noqa: E731
    until(lambda: len(begun()) >= 1, 300)
    if fault == "node":
        made.remove_node(nodes[0], allow_graceful=False)
    else:
        os.kill(json.loads((begun()[0].out / lock.NAME).read_text())["process"], signal.SIGKILL)
    done.join()
    assert [state_hash(each.out) for each in todo] == expected


def test_submitit_gives_the_bytes_of_one_process(tmp_path, expected):
    pytest.importorskip("submitit")
    todo = four(tmp_path)
    executors.do_all(todo, Slurm("local", 1), quiet=True)
    assert [state_hash(each.out) for each in todo] == expected
