"""Commands, and what they say."""

import pytest

from onebody.cli import main

MAIN = "import sys; from onebody.cli import main; sys.exit(main())"
SMOKE = ("train", "random-search", "point/goal", "--preset", "smoke")
"""with the algorithm that has the least to compile"""


def files(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refusal(capsys, *arguments) -> str:
    """What a refused command says: one line on stderr, exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("onebody: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


def help_of(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out
