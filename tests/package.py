"""`python -m tests.package [PYTHON…]`: builds the source archive and the wheel in `dist/`, checks them, and uses the
wheel as users do, with each of these Pythons (by default this one), in empty environments and an empty folder.

The wheel is built from the source archive, so that what it needs is in there, too.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
TOOLS = ("build>=1.3", "twine>=6.2")
POLICY = """
import sys
import numpy as np
import onebody

act = onebody.load_policy("policy.npz")
action = act(np.zeros(2, np.float32))
assert action.shape == (2,) and np.all(np.abs(action) <= 1), action
assert not {"jax", "mujoco", "scipy"} & sys.modules.keys()
"""
"""what docs/tutorials/deploy.md says about a saved policy"""
BUNDLED = """
from onebody.runs import playable, studies

assert playable.BUNDLED.is_file() and len(studies.all_built_in()) > 10
"""


def main() -> None:
    """Build, check and use the package; a step that fails ends the process with its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        check_contents(wheel)
        for i, python in enumerate(sys.argv[1:] or [sys.executable]):
            use(wheel, python, Path(folder) / f"python{i}")
    print(f"{wheel.relative_to(ROOT)} works")


def build(folder: Path) -> Path:
    """The wheel in `dist/`, which holds nothing but it and the source archive."""
    shutil.rmtree(DIST, ignore_errors=True)
    tools = environment(folder / "tools", sys.executable, "-c", str(ROOT / "constraints.txt"), *TOOLS)
    call(tools, "-m", "build", "--outdir", str(DIST), str(ROOT))
    (wheel,) = DIST.glob("*.whl")
    (archive,) = DIST.glob("*.tar.gz")
    call(tools, "-m", "twine", "check", "--strict", str(wheel), str(archive))
    return wheel


def check_contents(wheel: Path) -> None:
    """The wheel has each file of the package that git knows, and no other; the source archive has the tests, too."""
    listed = subprocess.check_output(["git", "ls-files", "src/onebody", "tests"], cwd=ROOT, text=True).splitlines()
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {name.removeprefix("src/") for name in listed if name.startswith("src/")}
    assert there == expected, f"the wheel differs from git in {sorted(there ^ expected)}"
    with tarfile.open(next(DIST.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {*listed, "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"}, sorted(set(listed) - names)


def use(wheel: Path, python: str, folder: Path) -> None:
    """Install the wheel, train, save a policy, and act with it where only NumPy is installed."""
    whole = environment(folder / "whole", python, str(wheel))
    work = folder / "work"
    work.mkdir()
    call(whole, "-m", "pip", "check")
    call(whole, "-c", "import onebody; print('onebody', onebody.__version__)", cwd=work)
    command = whole.with_name("onebody")
    call(command, "--version", cwd=work)
    call(command, "list", cwd=work, quiet=True)
    call(whole, "-c", BUNDLED, cwd=work)
    call(command, "train", "omni", "point", "--preset", "smoke", "--out", "run", cwd=work)
    call(command, "adapt", "run", "--task", "0.5,0.5", "--save", "policy.npz", cwd=work)
    call(command, "evaluate", "run", "--stages", "0", "--tasks", "2", cwd=work)
    call(command, "report", "run", cwd=work)
    bare = environment(folder / "bare", python, "--no-deps", "numpy", str(wheel))
    call(bare, "-c", POLICY, cwd=work)


def environment(folder: Path, python: str, *packages: str) -> Path:
    """The Python of a new environment with these packages."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    new = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    call(new, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return new


def call(program: Path, *arguments: str, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a program that must succeed, without this process's PYTHONPATH."""
    print("$", program.name, *(argument if "\n" not in argument else "…" for argument in arguments), flush=True)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run([str(program), *arguments], cwd=cwd, env=variables, stdout=output)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
