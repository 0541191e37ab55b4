"""Checks that this folder is complete, and that its policy acts on this computer as it did where it was exported.

Run it on the robot: python check.py. It needs NumPy, and also runs policy.onnx if onnxruntime is installed. It prints
one line per check and exits with 0 if none has failed, otherwise with 1.
"""

import hashlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
CALLS = 200
"""number of calls whose time is measured"""


def checksums(contract):
    """Whether each file is the one that was exported."""
    wrong = []
    for name, expected in contract["files"].items():
        path = FOLDER / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            wrong.append(name)
    text = "missing or changed: " + ", ".join(wrong) if wrong else f"{len(contract['files'])} files"
    return not wrong, "checksums", text


def parity(name, run, contract):
    """Whether outputs are those of the exported policy; `run`: inputs by name -> outputs by name."""
    with np.load(FOLDER / "parity.npz", allow_pickle=False) as file:
        inputs = {key[len("input_") :]: file[key] for key in file.files if key.startswith("input_")}
        expected = {key[len("output_") :]: file[key] for key in file.files if key.startswith("output_")}
    outputs = run(inputs)
    worst = float(np.max([np.max(np.abs(outputs[key] - expected[key])) for key in expected]))
    limit, rows = contract["parity"]["tolerance"], len(inputs["observation"])
    text = f"{rows} rows, largest difference {worst:.1e}, at most {limit:.0e} allowed"
    return worst <= limit, name, text


def onnx(contract):
    """The same for policy.onnx."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FOLDER / "policy.onnx"), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return parity("policy.onnx", lambda inputs: dict(zip(names, session.run(names, inputs))), contract)


def speed(policy, contract):
    """Whether a call takes less time than a control step."""
    observation = np.zeros(len(contract["observation"]))
    seconds = []
    for step in range(CALLS):
        last = {"reward": 0.0, "ended": step % contract["horizon"] == 0} if policy.infers else {}
        begin = time.perf_counter()
        policy(observation, **last)
        seconds.append(time.perf_counter() - begin)
    median, dt = float(np.median(seconds)), contract["dt"]
    return median < dt, "speed", f"{1e3 * median:.3f} ms per call with NumPy, of {1e3 * dt:g} ms per control step"


def checks():
    """Passed, name and text of each check; passed is None for one that is left out."""
    contract = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))
    yield checksums(contract)
    from policy import Policy  # pyright: ignore[reportMissingImports]

    policy = Policy(FOLDER)
    yield parity("policy.npz", policy.run, contract)
    if importlib.util.find_spec("onnxruntime") is None:
        yield None, "policy.onnx", "not run: onnxruntime is not installed"
    else:
        yield onnx(contract)
    yield speed(policy, contract)


def main():
    """Print one line per check; the exit status."""
    failed = False
    try:
        for passed, name, text in checks():
            word = {True: "ok", False: "FAILED", None: "skipped"}[passed]
            print(f"{word:<8} {name:<12} {text}")
            failed |= passed is False
    except Exception as error:
        print(f"{'FAILED':<8} {'check':<12} {type(error).__name__}: {error}")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
