"""Logs as data: what is read, what is kept, and what is refused in one line."""

import tracemalloc
import zipfile

import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.runs import logged, logged_files
from onebody.runs.logged_files import Block
from onebody.tasks import registry

POINT = registry.make("point/goal")
ALL = 10**9


def episodes(n=6, steps=5, seed=0):
    """Arrays of a log of point robots, with a row per step."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (n, steps, 2)).astype(np.float32)
    path = rng.normal(size=(n, 1, 2)) + 0.1 * np.concatenate([np.zeros((n, 1, 2)), action.cumsum(1)], axis=1)
    path = path.astype(np.float32)
    ends = np.zeros((n, steps), bool)
    ends[:, -1] = True
    return {
        "observation": path[:, :-1].reshape(-1, 2),
        "action": action.reshape(-1, 2),
        "next_observation": path[:, 1:].reshape(-1, 2),
        "ends": ends.ravel(),
    }


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return str(path)
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    lists = lambda array: arrow.array(list(array), arrow.list_(arrow.from_numpy_dtype(array.dtype)))  # noqa: E731
    columns = {name: lists(array) if array.ndim == 2 else array for name, array in arrays.items()}
    parquet.write_table(arrow.table(columns), path)
    return str(path)


def read(*sources, limit=ALL, seed=0):
    return logged.read([str(each) for each in sources], POINT, limit, seed)


def assert_rows(kept, arrays):
    for name in Block._fields:
        np.testing.assert_array_equal(getattr(kept, name), arrays[name], err_msg=name)


@pytest.fixture(params=[".npz", ".parquet"])
def suffix(request):
    return request.param


@pytest.fixture(params=[8192, 7])  # rows per block: one block, and blocks that episodes go over
def block(request, monkeypatch):
    monkeypatch.setattr(logged_files, "BLOCK", request.param)


# ---------------------------------------------------------------- what is read


def test_all_rows_are_kept_in_their_order(tmp_path, suffix, block):
    arrays = episodes()
    logs = read(save(tmp_path / f"log{suffix}", arrays))
    assert_rows(logs.kept, arrays)
    assert logs.total == 30 and [each["transitions"] for each in logs.sources] == [30]
    np.testing.assert_array_equal(logs.starts[:6], arrays["observation"][::5])
    np.testing.assert_array_equal(logs.starts[6:12], arrays["observation"][::5])
    assert len(logs.starts) == logged.N_STARTS


def test_next_observations_follow_from_consecutive_rows(tmp_path, suffix, block):
    """The last row of an episode has no next observation in the file, and is left out."""
    arrays = episodes()
    source = save(tmp_path / f"log{suffix}", {name: arrays[name] for name in ("observation", "action", "ends")})
    rows = np.arange(30) % 5 < 4
    expected = {name: array[rows] for name, array in arrays.items()} | {"ends": np.arange(30)[rows] % 5 == 3}
    logs = read(source)
    assert_rows(logs.kept, expected)
    np.testing.assert_array_equal(logs.starts[:6], arrays["observation"][::5])


def test_the_end_of_a_file_ends_its_last_episode(tmp_path, block):
    arrays = episodes()
    del arrays["next_observation"]
    arrays["ends"][-1] = False
    kept = read(save(tmp_path / "log.npz", arrays)).kept
    assert kept.ends.sum() == 6 and kept.ends[-1]


@pytest.mark.parametrize("marks", [("terminated",), ("truncated",), ("terminated", "truncated")])
def test_an_episode_ends_by_termination_or_truncation(tmp_path, suffix, marks):
    arrays = episodes()
    ends = arrays.pop("ends")
    shares = np.arange(30) % len(marks)
    marked = {name: ends & (shares == i) for i, name in enumerate(marks)}
    arrays["ends"] = ends
    given = {name: array for name, array in arrays.items() if name != "ends"} | marked
    assert_rows(read(save(tmp_path / f"log{suffix}", given)).kept, arrays)


def test_several_logs_follow_one_another_and_compressed_ones_are_the_same(tmp_path):
    first, second = episodes(seed=1), episodes(3, 4, seed=2)
    del second["ends"]  # then the file is one episode
    np.savez_compressed(tmp_path / "first.npz", **first)
    logs = read(tmp_path / "first.npz", save(tmp_path / "second.npz", second))
    ends = np.arange(12) == 11
    joined = {name: np.concatenate([first[name], (second | {"ends": ends})[name]]) for name in first}
    assert_rows(logs.kept, joined)
    assert [each["transitions"] for each in logs.sources] == [30, 12] and len(logs.sources[0]["sha256"]) == 64


def test_a_minari_dataset_is_read_by_name_and_by_folder(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    gymnasium = pytest.importorskip("gymnasium")
    from minari.data_collector.episode_buffer import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    arrays, buffers = episodes(), []
    for i in range(6):
        rows = slice(5 * i, 5 * i + 5)
        observations = np.concatenate([arrays["observation"][rows], arrays["next_observation"][rows][-1:]])
        truncations = np.arange(5) == 4
        buffers.append(
            EpisodeBuffer(
                observations=observations,
                actions=arrays["action"][rows],
                rewards=np.zeros(5),
                terminations=np.zeros(5, bool),
                truncations=truncations,
            )
        )
    spaces = {"observation_space": gymnasium.spaces.Box(-9, 9, (2,)), "action_space": gymnasium.spaces.Box(-1, 1, (2,))}
    with pytest.warns(UserWarning):
        minari.create_dataset_from_buffers("point/logged-v0", buffers, **spaces)
    by_name, by_folder = read("minari:point/logged-v0"), read(tmp_path / "point/logged-v0")
    assert_rows(by_name.kept, arrays)
    assert_rows(by_folder.kept, arrays)
    assert by_name.sources[0]["sha256"] == by_folder.sources[0]["sha256"]
    with pytest.raises(OnebodyError, match="no Minari dataset point/logged-v1 on this machine: minari download"):
        read("minari:point/logged-v1")


# ---------------------------------------------------------------- what is kept


def test_a_larger_log_is_sampled_by_whole_episodes(tmp_path):
    arrays = episodes(200, 5)
    source = save(tmp_path / "log.npz", arrays)
    logs = read(source, limit=52)
    assert logs.total == 1000 and len(logs.kept.ends) == 50
    np.testing.assert_array_equal(logs.kept.ends, np.arange(50) % 5 == 4)
    place = [np.flatnonzero((arrays["observation"] == row).all(1))[0] for row in logs.kept.observation]
    assert place == sorted(place) and all(place[i] % 5 == i % 5 for i in range(50))
    again, other = read(source, limit=52), read(source, limit=52, seed=1)
    np.testing.assert_array_equal(again.kept.observation, logs.kept.observation)
    assert not np.array_equal(other.kept.observation, logs.kept.observation)


def test_every_episode_is_kept_equally_often():
    """8 of 40 episodes, 400 times: the counts are binomial, with a standard deviation of 8."""
    rng, counts = np.random.default_rng(0), np.zeros(40)
    for _ in range(400):
        sample = logged._Sample(8, rng)
        for i in range(40):
            sample.offer(np.array(i), 1)
        kept = [int(each) for each in sample.items()]
        assert kept == sorted(kept) and len(kept) == 8
        counts[kept] += 1
    assert np.abs(counts - 80).max() < 4 * 8


def test_short_episodes_are_not_preferred_where_a_long_one_does_not_fit():
    """Those are kept that come first in a random order, up to the first one that does not fit."""
    for seed in range(50):
        sizes = np.random.default_rng(100 + seed).integers(1, 6, 20)
        sample = logged._Sample(15, np.random.default_rng(seed))
        for i, size in enumerate(sizes):
            sample.offer(np.array(i), int(size))
        order = np.argsort(np.random.default_rng(seed).random(20))
        first = order[np.cumsum(sizes[order]) <= 15]
        assert [int(each) for each in sample.items()] == sorted(first.tolist())


def test_long_episodes_are_sampled_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(logged, "LONGEST", 4)
    arrays = episodes(2, 10)
    logs = read(save(tmp_path / "log.npz", arrays))
    np.testing.assert_array_equal(logs.kept.observation, arrays["observation"])
    assert np.flatnonzero(logs.kept.ends).tolist() == [3, 7, 9, 13, 17, 19]
    np.testing.assert_array_equal(logs.starts[:2], arrays["observation"][::10])
    few = read(save(tmp_path / "log.npz", arrays), limit=3)
    assert len(few.kept.ends) == 3 and np.isin(few.starts, arrays["observation"][::10]).all()


FLAT = 2.4e6
"""bytes for some blocks of rows, 2,000 transitions, and the initial states"""


def peak(tmp_path, rows, limit):
    """Most memory (bytes) in use while a log of so many rows is read; the file itself is written row by row."""
    with zipfile.ZipFile(tmp_path / "log.npz", "w") as archive:
        for name, shape in (("observation", (2,)), ("action", (2,)), ("next_observation", (2,)), ("ends", ())):
            dtype, rng = np.dtype(bool if name == "ends" else np.float32), np.random.default_rng(0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for begin in range(0, rows, 10_000):
                    if name == "ends":
                        file.write((np.arange(begin, begin + 10_000) % 100 == 99).tobytes())
                    else:
                        file.write(rng.uniform(-1, 1, (10_000, 2)).astype(np.float32).tobytes())
    tracemalloc.start()
    logs = read(tmp_path / "log.npz", limit=limit)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert logs.total == rows and limit - 100 < len(logs.kept.ends) <= limit
    return used


def test_memory_does_not_grow_with_the_log(tmp_path):
    assert peak(tmp_path, 400_000, 2_000) < FLAT < 400_000 * 25 / 4  # bytes of the arrays


@pytest.mark.slow
def test_memory_stays_flat_over_ten_million_rows(tmp_path):
    assert peak(tmp_path, 10_000_000, 2_000) < FLAT < 10_000_000 * 25 / 100


# ---------------------------------------------------------------- what is refused, or warned about


def broken(name, row, column, value):
    arrays = episodes()
    arrays[name] = arrays[name].astype(np.float64)
    arrays[name][row, column] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (broken("observation", 17, 1, np.nan), r"observation column 1 \(y \(m\)\) is nan in row 17, which is not"),
        (broken("next_observation", 2, 0, 1e300), r"next_observation column 0 \(x \(m\)\) is inf in row 2"),
        (broken("action", 4, 1, np.inf), "action column 1 is inf in row 4, which is not finite"),
        (broken("action", 4, 1, 3.5), r"action column 1 is 3.5 in row 4.*2 \* \(action - low\) / \(high - low\) - 1"),
        (episodes() | {"observation": np.zeros((30, 3))}, "observation has 3 numbers, and that of point/goal has 2"),
        (episodes() | {"action": np.zeros((30, 6))}, "action has 6 numbers, and that of point/goal has 2: it is of an"),
        (episodes() | {"action": np.zeros(30)}, r"action must hold numbers \[row, feature\], and it is float64 of 1 d"),
        (episodes() | {"ends": np.array(["no"] * 30)}, r"ends must hold numbers \[row\]"),
        (episodes() | {"ends": np.arange(30) // 10}, "ends must be true or false, or 1 or 0, in each row"),
        (
            {"observation": np.zeros((3, 2)), "actions": np.zeros((3, 2))},
            "no action; it has observation, actions, and needs",
        ),
        ({"observation": np.zeros((3, 2)), "action": np.zeros((3, 2))}, "has no next_observation; add it or, if its r"),
        ({name: array[:0] for name, array in episodes().items()}, "has no transitions .*; leave it out"),
    ],
)
def test_a_log_that_does_not_fit_is_refused(tmp_path, suffix, block, arrays, said):
    source = save(tmp_path / f"log{suffix}", arrays)
    with pytest.raises(OnebodyError, match=said) as error:
        read(source)
    assert str(error.value).startswith(source) and "\n" not in str(error.value)


@pytest.mark.parametrize(("row", "column", "value"), [(17, 1, np.nan), (19, 0, np.inf), (29, 1, np.nan)])
def test_a_row_is_counted_as_in_the_file_where_next_observations_are_missing(
    tmp_path, suffix, block, row, column, value
):
    """Row 17 is within an episode, rows 19 and 29 are the last ones of theirs."""
    arrays = broken("observation", row, column, value)
    source = save(tmp_path / f"log{suffix}", {name: x for name, x in arrays.items() if name != "next_observation"})
    with pytest.raises(OnebodyError, match=rf": observation column {column} \(. \(m\)\) is (nan|inf) in row {row}, "):
        read(source)


def test_a_log_of_a_robot_with_limits_needs_its_commands(tmp_path):
    family = onebody.limited(registry.make("point/goal"), onebody.Limits(latency=2), id="test/late-logs")
    source = save(tmp_path / "log.npz", episodes())
    with pytest.raises(OnebodyError, match=r"observation has 2 numbers, .* has 6: it lacks the newest commands"):
        logged.read([source], family, 100, 0)


def test_a_damaged_log_is_named(tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    save(path, episodes(200, 20))
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], b"", b"nonsense", *([bytes(changed)] if suffix == ".npz" else [])):
        path.write_bytes(content)
        with pytest.raises(OnebodyError, match=r"log.* cannot be read .*; restore a good copy"):
            read(path)


def test_arrays_of_other_forms_are_refused(tmp_path):
    arrays = episodes()
    for changed, said in (
        ({"action": arrays["action"][:20]}, "equally many rows, and they have observation 30, action 20"),
        ({"observation": np.asfortranarray(arrays["observation"])}, r"save numpy.ascontiguousarray\(observation\)"),
        ({"ends": np.array([object()] * 30)}, "Python objects"),
    ):
        np.savez(tmp_path / "log.npz", **(arrays | changed))
        with pytest.raises(OnebodyError, match=said):
            read(tmp_path / "log.npz")


def test_a_log_that_is_not_there_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    for source, said in (("none.npz", "there is no file"), ("log.csv", "must be a file .npz or .parquet")):
        with pytest.raises(OnebodyError, match=said):
            read(tmp_path / source)
    with pytest.raises(OnebodyError, match="twice"):
        read("log.npz", "log.npz")


def test_dynamics_that_vary_with_the_task_are_refused():
    with pytest.raises(OnebodyError, match="logs do not say the task of a step"):
        logged.read(["log.npz"], registry.make("pearl/hopper-params"), ALL, 0)


def test_a_feature_in_another_unit_is_named(tmp_path):
    family, rng = registry.make("smt/cheetah-vel"), np.random.default_rng(0)
    usual = rng.normal(size=(500, family.body.observation_size))
    usual[:, 3] = 5.0  # constant: `watch.constant` says so
    assert not list(logged.unusual(family, usual))
    for factor in (1e4, 1e-4):
        changed = usual.copy()
        changed[:, 2] *= factor
        (line,) = logged.unusual(family, changed)
        assert family.body.labels[2] in line and "check its unit" in line
