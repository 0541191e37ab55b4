"""`onebody play`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli.options import Flag
from onebody.core.errors import OnebodyError


@dataclass(frozen=True)
class Play:
    """Open a trained robot in the browser: it acts in real time, on the task that the sliders say."""

    run: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[RUN]")]] = None
    """Folder of a training run of an algorithm that is told the task, or a file that --save wrote; by default, a
    half-cheetah that comes with onebody"""
    save: Path | None = None
    """File .npz to save a run's policy for any task to, with its predicted returns, instead of opening the page; for
    runs of omni"""
    host: str = "127.0.0.1"
    """Address to serve the page on; the default can be opened on this machine alone"""
    port: int = 8080
    """Port to serve the page on; the next free one if it is taken"""
    trust: Flag = False
    """Run the Python file that registers the run's family, even if you have not run it before: for a run folder of
    somebody else, whose file you have read"""

    def __call__(self) -> None:
        if self.trust and self.run is not None and self.run.suffix != ".npz":
            from onebody.runs import folder

            folder.trust(self.run)
        if self.save:
            from onebody.cli.commands import check_writable
            from onebody.runs import playable

            check_writable("save", self.save, ".npz")
            if self.run is None or self.run.suffix == ".npz":
                raise OnebodyError("--save needs a run folder, as in: onebody play RUN --save FILE.npz")
            return print(f"saved: {playable.OfRun(self.run).save(self.save)}")
        from onebody.reports import play

        play.play(self.run, self.host, self.port, lambda address: print(f"{address}  (Ctrl-C ends it)", flush=True))
