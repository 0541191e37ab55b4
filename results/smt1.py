"""Draws `figure.png` of a panel of SMT's Figure 1 from the raw results in its folder and in others: python smt1.py smt-1a"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
COLORS = {"omni": "C3", "smt": "C0", "maml": "C1", "oracle": "C2"}
NAMES = {"omni": "OMNI", "smt": "SMT", "maml": "MAML", "oracle": "oracle"}
ELSEWHERE = {
    "smt-1a": {"omni": ["omni/cheetah-vel/omni-s*"], "smt": ["smt-cheetah-vel/smt-s*", "omni/cheetah-vel/smt-s*"]},
    "smt-1c": {"omni": ["omni/cheetah-dir/omni-s*"], "smt": ["omni/cheetah-dir/smt-s*"]},
}
"""trainings whose zero-shot curves stand in another folder"""


def mean(stage):
    return float(np.mean(stage["returns"]))


def read(path):
    return json.loads(path.read_text())


def main(panel):
    figure = Figure(figsize=(11, 4), layout="constrained")
    training, adaptation = figure.subplots(1, 2)
    for name in NAMES:
        own = sorted((HERE / panel).glob(f"{name}-s*"))
        others = [folder for pattern in ELSEWHERE[panel].get(name, []) for folder in sorted(HERE.glob(pattern))]
        for i, folder in enumerate([*own, *others]):
            tests = [read(path) for path in [*folder.glob("evaluations/*.json"), *folder.glob("evaluation.json")]]
            points = [(t["training_samples"], mean(t["stages"][0])) for t in tests if t["training_samples"]]
            label = f"{NAMES[name]}, zero-shot" if i == 0 else None
            training.plot(*zip(*sorted(points), strict=True), "o-", ms=3, color=COLORS[name], label=label)
        for i, folder in enumerate(own):
            test = read(folder / "evaluation.json")
            points = [(stage["adaptation_samples"], mean(stage)) for stage in test["stages"]]
            samples = test["training_samples"]
            label = f"{NAMES[name]} after {samples:,} samples" if i == 0 else None
            if name == "oracle":
                adaptation.axhline(points[0][1], color=COLORS[name], lw=1, label=label)
                continue
            adaptation.plot(*zip(*points, strict=True), "o-", ms=3, color=COLORS[name], label=label)
            if name == "maml":
                label = "MAML, stages 1 to 3" if i == 0 else None
                adapted = [value for _, value in points[1:]]
                training.plot([samples] * len(adapted), adapted, "x", color=COLORS[name], label=label)
    training.set_xscale("log")
    training.set_xlabel("real samples of training")
    adaptation.set_xlabel("real samples of the new task")
    for axes in (training, adaptation):
        axes.set_ylabel("mean return, held-out tasks")
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(HERE / panel / "figure.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
