import json

import numpy as np
import pytest

from onebody.core.errors import NotFinite, OnebodyError
from onebody.runs import compare, evaluate, jobs, loop
from onebody.runs.compare import summary
from onebody.runs.evaluate import MetaTest
from onebody.tasks import registry

TASKS = [[0.1], [0.2], [0.3], [0.4]]


def fake(place, algorithm, seed, returns, **changes):
    """A run folder with a test of two stages; the second has one more everywhere."""
    run = place / f"{algorithm}-{seed}-{len(changes)}"
    run.mkdir()
    record = {"algorithm": algorithm, "family": "point/goal", "family_version": 1, "seed": seed, "config": {"a": 1}}
    record |= {"preset": "smoke", "samples": None, "evaluate_every": 0, "versions": {}, **changes}
    (run / "config.json").write_text(json.dumps(record))
    stages = [
        {"stage": i, "adaptation_samples": 100 * i, "tasks": TASKS, "returns": [[x + i, x + i] for x in returns]}
        for i in (0, 1)
    ]
    test = {"task_is_known": True, "training_samples": 500 + seed, "stages": stages}
    (run / "evaluation.json").write_text(json.dumps(test))
    return run


def several(place, algorithm, offset, seeds=range(5)):
    return [fake(place, algorithm, seed, np.arange(4.0) + offset + seed) for seed in seeds]


def test_a_comparison_by_hand(tmp_path):
    result = summary([*several(tmp_path, "omni", 10), *several(tmp_path, "smt", 0)])
    omni = result["algorithms"]["omni"]
    assert omni["seeds"] == [0, 1, 2, 3, 4] and omni["training_samples"] == [500, 501, 502, 503, 504]
    assert [stage["mean"]["value"] for stage in omni["stages"]] == [13.5, 14.5]
    assert omni["stages"][0]["worst"]["by_seed"] == [10, 11, 12, 13, 14]
    assert omni["stages"][1]["adaptation_samples"] == 100
    half = 2.776445 * (2.5 / 5) ** 0.5  # Student's t for 4 degrees of freedom, of means 11.5 … 15.5
    assert omni["stages"][0]["mean"]["interval"] == pytest.approx((13.5 - half, 13.5 + half))
    for i, row in enumerate(result["improvement"]):
        assert (row["algorithm"], row["over"], row["stage"], row["value"]) == ("omni", "smt", i, 1.0)
        assert row["seeds"] == [0, 1, 2, 3, 4] and row["interval"][0] > 0.5
    json.dumps(result)


def test_algorithms_are_compared_by_the_seeds_that_both_have(tmp_path):
    """With seed 2 OMNI loses all four tasks; with seed 1 it wins two of them, ties one and loses one."""
    omni = [fake(tmp_path, "omni", seed, returns) for seed, returns in ((2, [0] * 4), (0, [9] * 4), (1, [3, 3, 2, 1]))]
    result = summary([*omni, *(fake(tmp_path, "smt", seed, [2, 2, 2, 2]) for seed in (1, 2, 3))])["improvement"]
    assert [(row["seeds"], row["by_seed"], row["interval"]) for row in result] == [([2, 1], [0.0, 0.625], None)] * 2
    assert summary([*omni[:2], *(fake(tmp_path, "maml", seed, [0] * 4) for seed in (3, 4))])["improvement"] == []


def test_a_seed_counts_once(tmp_path):
    (run,) = several(tmp_path, "omni", 0, [3])
    with pytest.raises(OnebodyError, match=f"{run} and {run} have the same seed, 3: leave one of them out"):
        summary([run, run])


def test_gaps_are_to_the_best_that_any_reached(tmp_path):
    """On each of the tasks the best is OMNI's seed 2 at stage 1: 13 and the task's number."""
    result = summary([*several(tmp_path, "omni", 10, range(3)), *several(tmp_path, "smt", 0, range(3))])["algorithms"]
    assert [stage["gap"]["mean"]["value"] for stage in result["omni"]["stages"]] == [2.0, 1.0]
    assert result["smt"]["stages"][0]["gap"]["worst"]["value"] == 12.0
    uneven = summary([fake(tmp_path, "oracle", 0, [0, 5, 0, 0]), fake(tmp_path, "maml", 0, [4, 0, 0, 3])])["algorithms"]
    gaps = [uneven[name]["stages"][0]["gap"] for name in ("oracle", "maml")]
    assert [(gap["mean"]["value"], gap["worst"]["value"]) for gap in gaps] == [(2.75, 5.0), (2.25, 6.0)]


def test_the_mean_gap_is_the_optimality_gap_to_the_best(tmp_path):
    """Agarwal et al. 2021: what a score falls short of a reference, those above it counted as equal to it."""
    returns = np.random.default_rng(0).integers(-3, 4, (2, 5, 4)).tolist()
    result = summary(
        [fake(tmp_path, name, seed, returns[i][seed]) for i, name in enumerate(("omni", "smt")) for seed in range(5)]
    )
    best = [max(row[j] for each in returns for row in each) + 1 for j in range(4)]  # at stage 1
    assert result["best"] == best
    for name, each in zip(("omni", "smt"), returns, strict=True):
        for stage in (0, 1):
            short = [best[j] - min(row[j] + stage, best[j]) for row in each for j in range(4)]
            gap = result["algorithms"][name]["stages"][stage]["gap"]["mean"]
            assert gap["value"] == pytest.approx(sum(short) / len(short)) and gap["interval"][0] < gap["value"]


def test_a_grid_has_the_edges_and_goes_beyond_them():
    tasks = MetaTest(grid=3, beyond=1.5).of(registry.make("point/goal"))
    assert tasks.shape == (9, 2) and tasks[0].tolist() == [-1.5, -1.5] and tasks[5].tolist() == [0.0, 1.5]
    assert MetaTest(grid=2).of(registry.make("smt/cheetah-vel")).tolist() == [[0.0], [2.0]]
    with pytest.raises(
        OnebodyError, match="--grid 101 gives 10,201 tasks of point/goal, and at most 10,000 are allowed"
    ):
        MetaTest(grid=101).of(registry.make("point/goal"))
    for options, said in (
        ({"grid": 1}, "at least 2 points per dimension"),
        ({"beyond": 2.0}, "needs a grid: give its points per dimension"),
        ({"grid": 3, "beyond": 0.0}, "--beyond must be above 0"),
        ({"stages": -1}, "--stages must be at least 0, not -1"),
        ({"tasks": 0}, "--tasks must be at least 1"),
    ):
        with pytest.raises(OnebodyError, match=said):
            MetaTest(**options)


def test_four_seeds_have_points_and_a_range_but_no_interval(tmp_path):
    result = summary(several(tmp_path, "omni", 0, range(4)))["algorithms"]["omni"]["stages"][0]["mean"]
    assert result == {"value": 3.0, "by_seed": [1.5, 2.5, 3.5, 4.5], "range": (1.5, 4.5), "interval": None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "maml/point"}, "family (point/goal and maml/point)"),
        ({"family_version": 2}, "version of the family (1 and 2)"),
        ({"config": {"a": 2}}, "configuration"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, changes, said):
    runs = [fake(tmp_path, "omni", 0, range(4)), fake(tmp_path, "omni", 1, range(4), **changes)]
    with pytest.raises(OnebodyError) as caught:
        summary(runs)
    assert said in str(caught.value) and str(runs[1]) in str(caught.value)


def test_other_tests_are_refused(tmp_path):
    runs = several(tmp_path, "omni", 0)
    test = json.loads((runs[1] / "evaluation.json").read_text())
    shorter = test | {"stages": test["stages"][:1]}
    (runs[1] / "evaluation.json").write_text(json.dumps(shorter))
    with pytest.raises(OnebodyError, match=r"differ in their number of stages \(1 and 0\)"):
        summary(runs)
    test["stages"][1]["tasks"][0] = [0.25]
    (runs[1] / "evaluation.json").write_text(json.dumps(test))
    with pytest.raises(OnebodyError, match="differ in their tested tasks"):
        summary(runs)


def test_a_missing_or_untested_run_is_named(tmp_path):
    run = fake(tmp_path, "omni", 0, range(4))
    with pytest.raises(OnebodyError, match="nowhere is not a run folder"):
        summary([run, "nowhere"])
    (run / "evaluation.json").write_text("{")
    with pytest.raises(OnebodyError, match=r"evaluation.json is damaged"):
        summary([run])
    (run / "evaluation.json").unlink()
    with pytest.raises(OnebodyError, match=f"has not been tested yet: onebody evaluate {run}"):
        summary([run])


@pytest.mark.parametrize("family", ["point/goal", "mbmpo/point"])
def test_what_is_done_is_not_done_again(tmp_path, monkeypatch, family):
    """The second family has one task alone, whatever is asked for."""
    options = {"out": tmp_path / "all", "preset": "smoke", "test": MetaTest(tasks=2, stages=0), "quiet": True}
    first = compare.compare(["trpo"], family, seeds=1, **options)
    assert first["tested"] == ("2 held-out tasks" if family == "point/goal" else "the one task")

    def never(*_, **__):
        raise AssertionError("done again")

    (tmp_path / "all/trpo-s0/evaluation.json").write_text("{")
    assert compare.compare(["trpo"], family, seeds=1, **options) == first
    if family == "point/goal":
        on_grid = compare.compare(["trpo"], family, seeds=1, **options | {"test": MetaTest(grid=2, stages=0)})
        assert on_grid["tested"] == "4 tasks on a grid over [-1, 1]^2"
        assert compare.compare(["trpo"], family, seeds=1, **options) == first
    monkeypatch.setattr(compare.evaluate, "evaluate", never)
    assert compare.compare(["trpo"], family, seeds=1, **options) == first


def test_a_diverged_training_stays_in_and_is_named(tmp_path, monkeypatch):
    trained = loop.train

    def diverges(name, family, *, out, samples, **options):
        trained(name, family, out=out, samples=0, **options)
        raise NotFinite("state.policy is not finite in iteration 1")

    monkeypatch.setattr(jobs.loop, "train", diverges)
    options = {"out": tmp_path / "all", "preset": "smoke", "test": MetaTest(tasks=2, stages=0), "quiet": True}
    result = compare.compare(["trpo"], "point/goal", seeds=1, **options)["algorithms"]["trpo"]
    assert list(result["diverged"].values()) == ["state.policy is not finite in iteration 1"]
    assert result["training_samples"] == [0] and np.isfinite(result["stages"][0]["mean"]["value"])


def test_a_test_that_diverges_names_the_run(tmp_path, monkeypatch):
    def diverges(*_, **__):
        raise NotFinite("reward is not finite")

    monkeypatch.setattr(compare.evaluate, "evaluate", diverges)
    with pytest.raises(OnebodyError, match=r"trpo-s0 failed \(reward is not finite\); try fewer --stages"):
        compare.compare(["trpo"], "point/goal", out=tmp_path, preset="smoke", seeds=1, quiet=True)


def test_wrong_names_are_refused_before_any_training(tmp_path):
    for algorithms, family, said in (
        (["omni", "mamml"], "point/goal", "maml"),
        (["omni"], "point/goall", "point/goal"),
        (["omni", "omni"], "point/goal", "twice"),
        (["trpo", "smt"], "pearl/walker-params", "vary with the task"),
    ):
        with pytest.raises(OnebodyError, match=said):
            compare.compare(algorithms, family, out=tmp_path / "all", preset="smoke")
    with pytest.raises(OnebodyError, match=r"are not a box .*, which a grid needs: leave --grid out"):
        compare.compare(["trpo"], "pearl/point", out=tmp_path / "all", preset="smoke", test=MetaTest(grid=3))
    assert not (tmp_path / "all").exists()


def test_tested_tasks_are_called_what_they_are():
    def said(name, n=2, **facts):
        return evaluate.tested({"stages": [{"tasks": [[0.0]] * n}], **facts}, registry.make(name))

    assert said("pearl/cheetah-vel") == "2 held-out tasks" and said("pearl/cheetah-vel", 1) == "1 held-out task"
    for name in ("pearl/cheetah-dir", "smt/ant-crippled"):
        assert said(name) == "2 tasks that are also training tasks"
    assert said("mbmpo/point", 1) == "the one task"
    assert said("smt/ant-vel-2d", 4, grid="[-3, 3]^2") == "4 tasks on a grid over [-3, 3]^2"
