"""`onebody play`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli.options import Trust, check_writable
from onebody.core.errors import OnebodyError


@dataclass(frozen=True)
class Play:
    """Open a trained robot in the browser: it acts in real time, on the task that the sliders say."""

    run: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[RUN]")]] = None
    """Folder of a training run, or a file that --save wrote; by default, a half-cheetah that comes with onebody. An
    algorithm that is not told the task, such as omni-hidden or pearl, adapts to it from rewards, and the page shows
    what it believes"""
    save: Path | None = None
    """File .npz to save a run's policy for any task to, with its predicted returns, instead of opening the page; for
    an algorithm with one policy for any task, such as omni"""
    export: Path | None = None
    """File .html to write the page to instead of opening it: one file of about 4 MB that simulates the robot in any
    browser, without a server and without network; downloads MuJoCo's WebAssembly build and three.js once. For runs of
    omni with MuJoCo robots"""
    host: str = "127.0.0.1"
    """Address to serve the page on; the default can be opened on this machine alone"""
    port: int = 8080
    """Port to serve the page on; the next free one if it is taken"""
    trust: Trust = False

    def __call__(self) -> None:
        if self.trust and self.run is not None and self.run.suffix != ".npz":
            from onebody.runs import folder

            folder.trust(self.run)
        if self.save or self.export:
            return self._write()
        from onebody.reports import play

        play.play(self.run, self.host, self.port, lambda address: print(f"{address}  (Ctrl-C ends it)", flush=True))

    def _write(self) -> None:
        from onebody.reports import export
        from onebody.runs import playable

        check_writable("save", self.save, ".npz")
        check_writable("export", self.export, ".html")
        if self.save:
            if self.run is None or self.run.suffix == ".npz":
                raise OnebodyError("--save needs a run folder, as in: onebody play RUN --save FILE.npz")
            print(f"saved: {playable.OfRun(self.run).save(self.save)}")
        if self.export:
            print(f"saved: {export.export(self.run, self.export)}")
