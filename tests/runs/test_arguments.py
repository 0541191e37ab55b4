"""Numbers of NumPy and JAX are taken; what is no number of its kind is one line. Types are not checked here, as for a
user, so it is a process of its own."""

import json
import subprocess
import sys

import pytest

CALLS = {
    "seed": "onebody.train('trpo', 'point/goal', preset='smoke', samples=0, seed=np.int64(3), out=out, quiet=True)",
    "samples": "onebody.train('trpo', 'point/goal', preset='smoke', samples=jnp.int32(0), out=out, quiet=True)",
    "every": "onebody.train('trpo', 'point/goal', preset='smoke', samples=0, evaluate_every=np.uint8(2), out=out, "
    "quiet=True)",
    "setting": "train(episodes=np.int64(3), discount=np.float32(0.5), trace=jnp.float32(0.25))",
    "list": "train(hidden=[8, np.int32(4)])",
    "tasks": "onebody.MetaTest(tasks=np.int16(3), grid=jnp.int32(0), beyond=np.float32(1))",
}
REFUSED = {
    "seed": ("train(seed=1.5)", "--seed must be a whole number, not 1.5"),
    "seed text": ("train(seed='1')", "--seed must be a whole number, not '1'"),
    "samples": ("train(samples=float('nan'))", "--samples must be a whole number, not nan"),
    "every": ("train(evaluate_every=float('nan'))", "--evaluate-every must be a whole number, not nan"),
    "tasks": ("onebody.MetaTest(tasks=2.5)", "--tasks must be a whole number, not 2.5"),
    "stages": ("onebody.adapt(out, stages=0.5)", "--stages must be a whole number, not 0.5"),
    "refine": ("onebody.adapt(out, refine=float('nan'))", "--refine must be 0 or more seconds, and finite, not nan"),
    "refine text": ("onebody.adapt(out, refine='fast')", "--refine must be a number, not 'fast'"),
    "beyond": ("onebody.MetaTest(grid=3, beyond='2')", "--beyond must be a number, not '2'"),
    "beyond list": ("onebody.MetaTest(grid=3, beyond=[2.0, 3.0])", "--beyond must be a number, not [2.0, 3.0]"),
    "workers": (
        "onebody.compare(['trpo'], 'point/goal', preset='smoke', samples=0, seeds=1, workers='2', out=out)",
        "--workers must be a whole number, not '2'",
    ),
    "NUL": (
        "onebody.train('trpo', 'point/goal', preset='smoke', out=f'{out}\\0', quiet=True)",
        "contains a NUL character",
    ),
    "NUL in a file": (
        "onebody.runs.numpy_policy.NumpyPolicy({}).save(f'{out}\\0.npz')",
        "contains a NUL character",
    ),
    "many stages": ("onebody.adapt(out, stages=2**70)", f"--stages must be from {-sys.maxsize} to {sys.maxsize}"),
    "refine array": ("onebody.adapt(out, refine=np.ones(2))", "--refine must be a number, not array([1., 1.])"),
    "family": ("onebody.train('trpo', 3, out=out)", "a family is named by a text, its id or FILE.py:ID, not by 3"),
    "test": ("onebody.evaluate(out, 3)", "test must be an onebody.MetaTest"),
    "test of training": ("onebody.train('trpo', 'point/goal', out=out, test=3)", "test must be an onebody.MetaTest"),
    "wait": ("onebody.train('trpo', 'point/goal', out=out, wait=np.nan)", "wait must be at least 0 seconds, not nan"),
    "disk": ("onebody.Disk(np.nan)", "Disk: radius must be above 0, not nan"),
    "arc": ("onebody.Arc(np.inf)", "Arc: angle must be above 0 and finite, not inf"),
    "set": ("onebody.FiniteSet(np.ones((2, 1)))", "a FiniteSet has tuples of equal length"),
    "seeds": ("onebody.compare(['trpo'], 'point/goal', seeds=2.5, out=out)", "--seeds must be a whole number, not 2.5"),
    "layer": ("train(hidden=[8, 2.5])", "hidden cannot be (8, 2.5)"),
    "text": ("train(episodes='3')", "episodes must be at least 1, not '3'"),
    "activation": ("train(activation='tenh')", "activation cannot be 'tenh'"),
    "function": ("train(trace=print)", "trace must be at least 0, not <built-in function print>"),
}
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
import jax.numpy as jnp, numpy as np, onebody, onebody.runs.numpy_policy
place = Path(sys.argv[1])
def train(seed=0, samples=0, evaluate_every=0, **settings):
    config = dataclasses.replace(onebody.preset("trpo", "smoke"), **settings)
    run = onebody.train("trpo", "point/goal", config=config, seed=seed, samples=samples,
                        evaluate_every=evaluate_every, out=out, quiet=True)
    return json.loads((run / "config.json").read_text())["config"]
said = {}
for name, call in json.loads(sys.argv[2]).items():
    out = place / name
    try:
        said[name] = str(eval(call))
    except onebody.OnebodyError as error:
        said[name] = f"refused: {error}"
    except BaseException as error:
        said[name] = repr(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    calls = {f"taken {name}": call for name, call in CALLS.items()}
    calls |= {f"refused {name}": call for name, (call, _) in REFUSED.items()}
    place = tmp_path_factory.mktemp("calls")
    command = [sys.executable, "-c", SCRIPT, str(place), json.dumps(calls)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout), place


def test_numbers_of_numpy_and_jax_are_taken(said):
    results, place = said
    records = {name: place / f"taken {name}" / "config.json" for name in CALLS}
    for name in ("seed", "samples", "every"):
        assert results[f"taken {name}"] == str(place / f"taken {name}")
    read = lambda name: json.loads(records[name].read_text())  # noqa: E731
    assert (read("seed")["seed"], read("samples")["samples"], read("every")["evaluate_every"]) == (3, 0, 2)
    config = read("setting")["config"]
    assert (config["episodes"], config["discount"], config["trace"]) == (3, 0.5, 0.25)
    assert read("list")["config"]["hidden"] == [8, 4]
    assert results["taken tasks"].startswith("MetaTest(tasks=3, stages=3, grid=0,")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_of_its_kind_is_one_line(name, said):
    results, place = said
    text = results[f"refused {name}"]
    assert text.startswith("refused: ") and REFUSED[name][1] in text and "\n" not in text
    assert not (place / f"refused {name}").exists()
