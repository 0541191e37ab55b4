"""Loggers get each iteration once, and neither their failures nor their being there changes a run."""

import json
import logging
import re
import shutil
import struct
import threading
from pathlib import Path

import pytest
from states import files

import onebody
from onebody.core.errors import OnebodyError
from onebody.runs import folder, lock, log, log_feed, loggers
from onebody.runs.log_feed import Sender, send_all
from onebody.runs.loggers import Kind, Point


class Fake:
    """Remembers all runs that were logged: the points of each, by identifier."""

    def __init__(self):
        self.runs, self.opened, self.closed = {}, 0, 0
        self.fails = ""
        """method that raises an error"""

    def open(self, run, record, identity):
        self._may_fail("open")
        self.opened += 1
        self.points, self.record = self.runs.setdefault(identity, []), record
        return self

    def write(self, point):
        self._may_fail("write")
        self.points.append(point)

    def close(self):
        self._may_fail("close")
        self.closed += 1

    def _may_fail(self, method):
        if self.fails == method:
            raise ConnectionError("the server\nis gone")


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    monkeypatch.setitem(loggers.KINDS, "fake", Kind("json", fake.open))
    return fake


def train(out, **options):
    return onebody.train("smt", "point", preset="smoke", out=out, quiet=True, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without loggers, evaluated during training; not to be written to."""
    return train(tmp_path_factory.mktemp("plain") / "run", evaluate_every=2, test=onebody.MetaTest(tasks=2))


@pytest.fixture
def old(plain, tmp_path):
    """A copy of that run, finished and evaluated."""
    run = Path(shutil.copytree(plain, tmp_path / "old"))
    onebody.evaluate(run, onebody.MetaTest(tasks=2, stages=1))
    return run


def own_files(run):
    """What a run folder holds, apart from loggers and times."""
    return {
        name: re.sub(rb'"time/[^,}]*', b"", content)
        for name, content in files(run).items()
        if not name.startswith((*loggers.KINDS, log_feed.FOLDER))
    }


def test_a_logger_gets_what_the_metrics_file_has_and_the_run_stays_the_same(fake, plain, tmp_path):
    run = train(tmp_path / "run", evaluate_every=2, test=onebody.MetaTest(tasks=2), log_to=["fake"])
    (points,) = fake.runs.values()
    assert [(point.number, point.iteration, point.samples) for point in points] == [
        (0, 0, 0),
        (1, 1, 80),
        (2, 2, 160),
        (3, 3, 240),
    ]
    for line in log.read(run):
        values = points[line["iteration"]].values
        assert line.items() - {"iteration": line["iteration"], "real/samples": line["real/samples"]}.items() <= (
            values.items()
        )
    evaluated = [point.iteration for point in points if "evaluation/stage_0/mean" in point.values]
    assert evaluated == [0, 2]
    test = json.loads((run / "evaluations/000002.json").read_bytes())["stages"][0]
    assert points[2].values["evaluation/stage_0/worst"] == test["worst"]
    assert fake.record["config"]["n_tasks"] == 3 and (fake.opened, fake.closed) == (1, 1)
    assert own_files(run) == own_files(plain)


@pytest.mark.parametrize("method", ["open", "write", "close"])
def test_a_logger_that_fails_is_one_line_and_stops_nothing(fake, tmp_path, capsys, method):
    fake.fails = method
    run = train(tmp_path / "run", log_to=["fake"])
    assert [line["iteration"] for line in log.read(run)] == [1, 2, 3]
    assert capsys.readouterr().err == (
        f"onebody: {run}: fake failed (ConnectionError: the server is gone); training does not depend on it; "
        f"afterwards: onebody log {run} --to fake\n"
    )
    fake.fails = ""
    send_all(run, ["fake"])
    assert [point.iteration for points in fake.runs.values() for point in points] == [1, 2, 3]


def test_a_logger_that_hangs_is_not_waited_for(fake, tmp_path, capsys, monkeypatch):
    release, waits, others = threading.Event(), [], set(threading.enumerate())
    monkeypatch.setattr(log_feed, "LAST_WAIT", 0.2)
    monkeypatch.setattr(fake, "write", lambda point: (waits.append(point), release.wait(60)))
    run = train(tmp_path / "run", log_to=["fake"])
    release.set()
    for thread in set(threading.enumerate()) - others:
        thread.join(60)
    assert len(log.read(run)) == 3 and len(waits) >= 1
    assert "fake is not responding; training does not depend on it" in capsys.readouterr().err


def test_a_full_disk_of_the_logger_stops_nothing(fake, tmp_path, capsys, monkeypatch):
    def full(sender, sent):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Sender, "_keep", full)
    assert len(log.read(train(tmp_path / "run", log_to=["fake"]))) == 3
    assert capsys.readouterr().err.count("No space left") == 1


def test_a_resumed_run_goes_on_in_the_same_log_without_being_told(fake, tmp_path):
    run = train(tmp_path / "run", samples=80, log_to=["fake"])
    train(run, samples=160)
    onebody.resume(run, quiet=True)
    record = folder.read_config(run)
    (run / "config.json").write_text(json.dumps(record | {"samples": None}))
    onebody.resume(run, quiet=True)
    (points,) = fake.runs.values()
    assert [(point.number, point.iteration) for point in points] == [(0, 1), (1, 2), (2, 3)]
    assert fake.opened == fake.closed == 3


def test_a_logger_that_comes_later_gets_the_iterations_before_it(fake, tmp_path):
    run = train(tmp_path / "run", samples=80)
    train(run, log_to=["fake"])
    (points,) = fake.runs.values()
    assert [point.iteration for point in points] == [1, 2, 3]


def test_a_kill_while_a_point_is_sent_never_sends_it_twice(fake, old):
    class Kill(BaseException):
        pass

    def write(point):
        fake.points.append(point)
        if point.iteration == 2:
            raise Kill

    fake.write, whole = write, fake.write
    record, lines = folder.read_config(old), log.read(old)
    with pytest.raises(Kill), Sender(old, record, "fake") as sender:
        sender.send(lines)
    fake.write = whole
    with Sender(old, record, "fake") as sender:
        sender.send(lines)
    (points,) = fake.runs.values()
    assert [point.iteration for point in points] == [0, 1, 2, 3]


def test_an_old_run_is_sent_with_its_evaluations_and_only_once(fake, old):
    before = own_files(old)
    assert send_all(old, ["fake"]) == {"fake": 5}
    (points,) = fake.runs.values()
    last = points[-1]
    assert (last.iteration, last.samples) == (3, 240)
    stages = json.loads((old / "evaluation.json").read_bytes())["stages"]
    assert last.values["final_evaluation/stage_1/mean"] == stages[1]["mean"] and len(last.values) == 8
    assert send_all(old, ["fake"]) == {"fake": 0} and fake.opened == 1
    onebody.evaluate(old, onebody.MetaTest(tasks=3, stages=0))
    assert send_all(old, ["fake"]) == {"fake": 1}
    assert {name: x for name, x in own_files(old).items() if name != "evaluation.json"} == {
        name: x for name, x in before.items() if name != "evaluation.json"
    }


def test_numbers_that_are_not_finite_are_left_out(fake, old):
    with Sender(old, folder.read_config(old), "fake") as sender:
        sender.send([{"iteration": 1, "real/samples": 80, "a": float("nan"), "b": 1.0, "c": None}])
    (points,) = fake.runs.values()
    assert points[-1] == Point(1, 1, 80, {"b": 1.0})


def test_a_logger_that_is_not_installed_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(loggers.KINDS, "wandb", Kind("no_such_package", loggers.WandB))
    run = tmp_path / "run"
    for call in (lambda: train(run, log_to=["wandb"]), lambda: send_all(run, ["wandb"])):
        with pytest.raises(OnebodyError, match=r"wandb needs: pip install 'onebody\[wandb\]'"):
            call()
    with pytest.raises(OnebodyError, match="no logger 'wandbb'; did you mean 'wandb'"):
        train(run, log_to=["wandbb"])
    with pytest.raises(OnebodyError, match="--to needs the name of a logger"):
        send_all(run, [])
    assert not run.exists()


def test_a_resumed_run_goes_on_where_its_logger_is_not_installed(tmp_path, capsys, monkeypatch, fake):
    run = train(tmp_path / "run", samples=80, log_to=["fake"])

    def missing(*_):
        raise ModuleNotFoundError("No module named 'fake'")

    monkeypatch.setitem(loggers.KINDS, "fake", Kind("no_such_package", missing))
    train(run)
    assert len(log.read(run)) == 3 and capsys.readouterr().err.count("No module named 'fake'") == 1


def test_a_run_that_is_being_trained_and_a_damaged_record_are_said(fake, old):
    with lock.held(old), pytest.raises(OnebodyError, match="is training"):
        send_all(old, ["fake"])
    (old / "loggers").mkdir()
    (old / "loggers/fake.json").write_text("{")
    with pytest.raises(OnebodyError, match=r"fake\.json is damaged; delete it"):
        send_all(old, ["fake"])


def test_a_failure_afterwards_is_one_line_that_says_what_to_do(fake, old):
    fake.fails = "write"
    with pytest.raises(OnebodyError, match=rf"fake failed \(.*is gone\); send the rest with: onebody log {old}"):
        send_all(old, ["fake"])


# ------------------------------------------------------------ the packages themselves, where they are installed


def events(run):
    """(tag, step, value) of all events, in the order in which they were written."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    for path in sorted((run / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = proto.Event.FromString(data[12 : 12 + size])
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
            data = data[16 + size :]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    run = train(tmp_path / "run", samples=80, log_to=["tensorboard"])
    train(run)
    returns = [line["real/return"] for line in log.read(run)]
    for tag, steps in (("real/return", [80, 160, 240]), ("by_iteration/real/return", [1, 2, 3])):
        written = [(step, value) for name, step, value in events(run) if name == tag]
        assert written == [(step, pytest.approx(value)) for step, value in zip(steps, returns, strict=True)]


def test_wandb(old, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    with pytest.raises(OnebodyError, match="not logged in to Weights & Biases"):  # instead of a question on a terminal
        send_all(old, ["wandb"])
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert send_all(old, ["wandb"]) == {"wandb": 5}
    identity = json.loads((old / "loggers/wandb.json").read_bytes())["id"]
    (path,) = (old / "wandb").glob(f"offline-run-*/run-{identity}.wandb")
    wandb.teardown()  # ends its process, which writes the file
    assert path.stat().st_size > 1000


@pytest.mark.filterwarnings("default")  # MLflow's own use of SQLAlchemy
def test_mlflow(old, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    record = folder.read_config(old)
    with Sender(old, record, "mlflow") as sender:
        sender.send(log.read(old)[:2])
    assert send_all(old, ["mlflow"]) == {"mlflow": 2}
    client = tracking.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("onebody").experiment_id])
    history = client.get_metric_history(run.info.run_id, "real/return")
    assert [(each.step, each.value) for each in history] == [
        (line["real/samples"], pytest.approx(line["real/return"])) for line in log.read(old)
    ]
    assert run.data.metrics["iteration"] == 3 and "final_evaluation/stage_1/mean" in run.data.metrics
    assert run.data.params["config.n_tasks"] == "3" and run.info.status == "FINISHED"
    logging.getLogger("mlflow").handlers.clear()
