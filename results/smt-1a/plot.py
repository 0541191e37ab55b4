"""Draws `figure.png` from the raw results here, in `../omni` and in `../smt-cheetah-vel`: python plot.py"""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
COLORS = {"omni": "C3", "smt": "C0", "maml": "C1", "oracle": "C2"}
NAMES = {"omni": "OMNI", "smt": "SMT", "maml": "MAML", "oracle": "oracle"}
PLACES = {
    "omni": [*HERE.parent.glob("omni/cheetah-vel/omni-s*")],
    "smt": [*HERE.parent.glob("smt-cheetah-vel/smt-s*"), *HERE.parent.glob("omni/cheetah-vel/smt-s*")],
    "maml": [*HERE.glob("maml-s*")],
    "oracle": [*HERE.glob("oracle-s*")],
}
ADAPTED = {
    **PLACES,
    "omni": [*HERE.glob("omni-s*")],
    "smt": [*HERE.parent.glob("smt-cheetah-vel/smt-s*")],
}


def mean(stage):
    return float(np.mean(stage["returns"]))


def main():
    figure = Figure(figsize=(11, 4), layout="constrained")
    training, adaptation = figure.subplots(1, 2)
    for name, folders in PLACES.items():
        for i, folder in enumerate(sorted(folders)):
            files = [*folder.glob("evaluations/*.json"), *folder.glob("evaluation.json")]
            tests = [json.loads(path.read_text()) for path in files]
            points = [(t["training_samples"], mean(t["stages"][0])) for t in tests if t["training_samples"]]
            label = f"{NAMES[name]}, zero-shot" if i == 0 else None
            training.plot(*zip(*sorted(points), strict=True), "o-", ms=3, color=COLORS[name], label=label)
    for name, folders in ADAPTED.items():
        for i, folder in enumerate(sorted(folders)):
            test = json.loads((folder / "evaluation.json").read_text())
            points = [(stage["adaptation_samples"], mean(stage)) for stage in test["stages"]]
            samples = test["training_samples"]
            label = f"{NAMES[name]} after {samples:,} samples" if i == 0 else None
            if name == "oracle":
                adaptation.axhline(points[0][1], color=COLORS[name], lw=1, label=label)
                continue
            adaptation.plot(*zip(*points, strict=True), "o-", ms=3, color=COLORS[name], label=label)
            if name == "maml":
                for stage, (_, value) in enumerate(points[1:], 1):
                    training.plot(samples, value, "x", color=COLORS[name], label=None if stage > 1 else "MAML, stages 1 to 3")
    training.set_xscale("log")
    training.set_xlabel("real samples of training")
    adaptation.set_xlabel("real samples of the new task")
    for axes in (training, adaptation):
        axes.set_ylabel("mean return, 40 held-out tasks")
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
