"""The command line as a user types it: help, mistakes, ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import MAIN, SMOKE, files, help_of, refusal

from onebody.cli import commands, listing, main, options
from onebody.core.errors import OnebodyError, Stopped
from onebody.runs import log, loop

# ---------------------------------------------------------------- help, version, list


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_overview_names_every_command(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(
        f"\n  {name} " in out
        for name in ("list", "train", "resume", "adapt", "evaluate", "compare", "demo", "--version")
    )


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("onebody 0.")


def test_python_m_onebody_is_the_command():
    """With its exit code; the module is read without JAX, as the command is."""
    for arguments, code, said in ((["--version"], 0, "onebody 0."), (["trian"], 2, "no command 'trian'")):
        ended = subprocess.run([sys.executable, "-m", "onebody", *arguments], capture_output=True, text=True)
        assert ended.returncode == code and said in ended.stdout + ended.stderr


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_help_says_every_option_and_default(command, capsys):
    out = help_of(capsys, command, "--help")
    assert out.startswith(f"usage: onebody {command} ")
    for option in options._names(commands.COMMANDS[command]):
        positional = ("--run", "--runs", "--algorithm", "--algorithms", "--family", "--study", "--config")
        assert option in (*out.split(), *positional)
    assert "(default: " in out
    assert list(os.scandir()) == []


def test_help_of_an_algorithm_shows_its_options_wherever_help_stands(capsys):
    shown = help_of(capsys, "train", "smt", "point/goal", "--preset", "paper", "--help")
    assert shown == help_of(capsys, "train", "--help", "smt", "point/goal", "--preset=paper")
    assert "ALGORITHM FAMILY" in shown and "--config.n-tasks" in shown
    assert "(default: 100)" in shown and "(default: 100)" not in help_of(
        capsys, "train", "smt", "point/goal", "--preset", "smoke", "--help"
    )


def test_a_setting_that_is_true_or_false_has_both_options_at_its_help(capsys):
    """So that the help, of what the setting does when true, reads right whatever the preset has."""
    typed = ["me-trpo", "point/goal", "--preset", "smoke"]
    shown = help_of(capsys, "train", *typed, "--help")
    assert "--config.policy-validation, --config.no-policy-validation" in shown and "--no-json" not in shown
    for option, value in (("--config.policy-validation", True), ("--config.no-policy-validation", False)):
        assert options.parse(commands.with_config(typed), "train", [*typed, option]).config.policy_validation is value
    assert "no option --no-json of train" in refusal(capsys, "train", *typed, "--no-json")


def test_the_stored_listing_is_that_of_the_definitions():
    assert json.loads(listing.STORED.read_text()) == listing.from_definitions(), "make docs"


def test_help_and_list_do_not_import_jax():
    code = "import sys; from onebody.cli import main; assert main({!r}) == 0; sys.exit('jax' in sys.modules)"
    for command in (["list"], ["--help"]):
        subprocess.run([sys.executable, "-c", code.format(command)], check=True, stdout=subprocess.DEVNULL)


def test_list(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert {"smt", "slbo"} <= {row["id"] for row in listing["algorithms"]}
    family = next(row for row in listing["families"] if row["id"] == "smt/cheetah-vel")
    assert family["aliases"] == ["cheetah-vel"] and family["horizon_steps"] == 200 and family["source"]
    for row in [*listing["algorithms"], *listing["families"]]:
        assert row["id"] in text and row["source"] in text
    assert main(["list", "--families", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"families"}
    assert main(["list", "--algorithms"]) == 0
    assert "point/goal" not in capsys.readouterr().out


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian smt point/goal", ["'trian'", "'train'"]),
        ("train smtt point/goal", ["'smtt'", "'smt'"]),
        ("train smtt point/goal --config.n-tasks 3", ["'smtt'", "'smt'"]),
        ("train smt piont/goal", ["'piont/goal'", "'point/goal'"]),
        ("train smt cheeta-vel", ["'cheeta-vel'", "'cheetah-vel'"]),
        ("train smt point/goal --preset smoek", ["'smoek'", "'smoke'"]),
        ("train smt point/goal --preset=", ["no preset ''"]),
        ("train smt point/goal --preset smoke --config.slbo.model.hidden", ["hidden needs at least one number"]),
        ("train smt point/goal --sed 3", ["--sed", "'--seed'"]),
        ("train smt point/goal --sed=3", ["--sed ", "'--seed'"]),
        ("train smt point/goal --config.slbo.hiden 3", ["--config.slbo.hiden", "'--config.slbo.hidden'"]),
        ("train slbo point/goal --config.n-warmup 3", ["--config.n-warmup", "train"]),
        ("train smt point/goal --seed abc", ["--seed", "'abc'", "onebody train --help"]),
        ("train smt point/goal --seed -1", ["--seed", "-1"]),
        ("train smt point/goal --seed", ["--seed", "Missing"]),
        ("train smt point/goal --samples -1", ["--samples", "at least 0"]),
        ("train smt point/goal --evaluate-every -2", ["--evaluate-every", "at least 0"]),
        ("train smt point/goal --config.n-tasks many", ["--config.n-tasks", "'many'"]),
        ("train smt point/goal again", ["again"]),
        ("train point/goal smt", ["takes the algorithm first", "did you mean: onebody train smt point/goal?"]),
        ("train mine.py:own smt --config.n-tasks 3", ["did you mean: onebody train smt mine.py:own?"]),
        ("tune point smt --search n-tasks=1:2", ["did you mean: onebody tune smt point?"]),
        ("compare smt point", ["takes the family first", "did you mean: onebody compare point smt?"]),
        ("compare smt slbo point/goal maml", ["did you mean: onebody compare point/goal smt slbo maml?"]),
        ("compare piont/goal smt", ["'piont/goal'", "'point/goal'"]),
        ("compare point/goal smtt", ["'smtt'", "'smt'"]),
        ("train smt", ["FAMILY"]),
        ("train --seed 3", ["ALGORITHM", "FAMILY"]),
        ("train", ["ALGORITHM", "FAMILY"]),
        ("list --famlies", ["--famlies", "'--families'"]),
        ("list -x", ["-x"]),
        ("resume", ["RUN"]),
        ("resume nowhere", ["nowhere"]),
        ("evaluate nowhere", ["nowhere"]),
        ("adapt nowhere --task 1", ["nowhere"]),
        ("adapt nowhere", ["nowhere"]),
        ("adapt nowhere --task 1,fast", ["--task 1,fast"]),
        ("adapt nowhere --task -0.3 0.2", ["join its numbers by commas, as in --task -0.3,0.2;"]),
        ("adapt --task 1 --task 0.3, 0.2, 1 nowhere", ["as in --task 0.3,0.2,1;"]),
        ("adapt --task 1 2", ["2 is not a run folder"]),
        ("adapt nowhere --task 1 --save policy.pkl", ["policy.pkl", ".npz"]),
        ("adapt nowhere --task 1 --save no/policy.npz", ["no/policy.npz", "folder"]),
        ("adapt nowhere --task 1 --video film.avi", ["film.avi", ".webp"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(typed, said, capsys):
    line = refusal(capsys, *typed.split())
    for words in said:
        assert words in line
    assert list(os.scandir()) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("adapt RUN --task 0.5,1.5", ["0.5, 1.5", "[-1, 1]", "--extrapolate"]),
        ("adapt RUN --task 0.5,0.5 --task 0.5", ["0.5", "2"]),
        ("adapt RUN --task nan,0 --extrapolate", ["nan"]),
        ("adapt RUN --task 0,0 --stages -1", ["--stages"]),
        ("evaluate RUN --tasks 0", ["--tasks"]),
        ("adapt RUN --task 0,0 --refine nan", ["--refine", "not nan"]),
        ("evaluate RUN --stages -1", ["--stages"]),
        ("evaluate RUN --grid 1000", ["1,000,000 tasks"]),
        ("evaluate RUN --grid 3 --beyond 1e308", ["--beyond must be above 0 and at most 1000, not 1e+308"]),
        ("train random-search point/goal --preset smoke --seed 1 --out RUN", ["seed", "RUN", "--out"]),
        (
            "train random-search point/goal --preset smoke --config.directions 9 --out RUN",
            ["directions", "4", "9", "--out"],
        ),
    ],
)
def test_bad_input_leaves_a_run_as_it_was(typed, said, trained, capsys):
    before = files(trained)
    line = refusal(capsys, *typed.replace("RUN", str(trained)).split())
    for words in said:
        assert words.replace("RUN", str(trained)) in line
    assert files(trained) == before


def test_an_empty_preset_is_none(capsys):
    assert "no preset ''" in refusal(capsys, "train", "smt", "point/goal", "--preset", "")
    assert list(os.scandir()) == []


@pytest.mark.parametrize("text", ["exit()", "import sys; sys.exit()", "raise SystemExit(0)"])
def test_a_file_that_ends_the_program_is_refused(text, trained, capsys):
    file = Path("own.py").absolute()
    file.write_text(f"{text}\n")
    for typed in (f"train smt {file}:own/family", f"adapt {trained} --task 0,0 --reward {file}:reward"):
        assert f"{file} cannot be run: SystemExit" in refusal(capsys, *typed.split())


def test_message_on_a_terminal_without_utf8_or_with_colours():
    """tyro draws other boxes there; the line must be the same."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error"}
    arguments = [sys.executable, "-c", MAIN, "evaluate", "run", "--tasks", "abc"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("onebody: Error parsing --tasks: ") and done.stderr.count("\n") == 1
    assert (
        options._message("\x1b[1m╭─ Bad ─╮\x1b[0m\n│ one \x1b[31mthing\x1b[0m │\n│ more.  │\n╰──╯") == "one thing more"
    )


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Stopped(signal.SIGTERM, Path("x")), 143, "onebody resume x"),
        (Stopped(signal.SIGINT, Path("x")), 130, "onebody resume x"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OnebodyError("model/loss is nan"), 2, "model/loss is nan"),
        (PermissionError(13, "Permission denied", "x/config.json"), 2, "x/config.json: Permission denied"),
    ],
)
def test_how_commands_end(raised, code, said, capsys, monkeypatch):
    def train(*_, **__):
        raise raised

    monkeypatch.setattr(loop, "train", train)
    assert main(SMOKE) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_sigterm_ends_a_command_as_ctrl_c_does(capsys, monkeypatch):
    outer = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        monkeypatch.setattr(loop, "train", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        assert main(SMOKE) == 143 and capsys.readouterr().err == "onebody: stopped\n"
    finally:
        signal.signal(signal.SIGTERM, outer)


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(SMOKE)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_resume_goes_on(signum, code, tmp_path, capsys):
    run = tmp_path / "run"
    typed = [*SMOKE, "--config.n-iterations", "100000", "--out", str(run)]
    with subprocess.Popen([sys.executable, "-c", MAIN, *typed], stderr=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 120
            while not (run / "metrics.jsonl").exists() or not log.read(run):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            process.send_signal(signum)
            err = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == code
    assert err.splitlines()[-1] == f"onebody: stopped; go on with: onebody resume {run}"
    done = log.read(run)[-1]["iteration"]
    assert (run / "checkpoints" / f"{done:06d}").is_dir()
    samples = str(log.read(run)[-1]["real/samples"] + 1)  # one iteration more
    assert main([*typed, "--samples", samples, "--quiet"]) == 0
    assert [line["iteration"] for line in log.read(run)] == list(range(1, done + 2))


def test_help_is_light_and_the_cache_is_the_users():
    script = """if True:
        import os, sys
        from onebody.cli import main
        assert main(["--help"]) == 0
        assert not {"jax", "mujoco", "rich", "matplotlib", "scipy"} & sys.modules.keys(), "slow imports"
        print(os.environ["JAX_COMPILATION_CACHE_DIR"])
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    run = [sys.executable, "-c", script]
    said = subprocess.run(run, env={**environment, "XDG_CACHE_HOME": "/c"}, capture_output=True, text=True, check=True)
    assert said.stdout.endswith("\n/c/onebody/jax\n")
    kept = {**environment, "JAX_COMPILATION_CACHE_DIR": "/mine"}
    assert subprocess.run(run, env=kept, capture_output=True, text=True, check=True).stdout.endswith("\n/mine\n")


def test_a_reader_that_leaves_is_no_error():
    script = (
        "import sys; from onebody.cli import main; from onebody.cli.commands import List\n"
        "List.__call__ = lambda self: print('x' * 1_000_000)\nsys.exit(main(['list']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("settings", "typed", "said"),
    [
        ({"COLUMNS": "1"}, ["resume", "--help"], "RUN"),
        ({"PYTHONIOENCODING": "ascii"}, ["list"], "tasks ?"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ["list"], "tasks ?"),
    ],
)
def test_an_unusual_terminal_is_written_to(settings, typed, said):
    command = [sys.executable, "-m", "onebody", *typed]
    ended = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and said in ended.stdout and ended.stderr == ""


def test_closed_outputs_do_not_end_in_files(tmp_path):
    """A file that is opened later must not get the number of the closed errors, to which libraries write."""
    main = "lambda: os.open(str(sys.stderr.isatty()), os.O_CREAT)"
    code = f"import os, sys; from onebody import cli; cli.main = {main}; cli.run()"
    closed = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code])
    assert closed.returncode > 2 and Path("False").exists()


def test_control_characters_are_shown_and_not_sent_to_the_terminal(capsys):
    assert "--on a\\n\\x1b[31m;" in refusal(capsys, "compare", "point", "trpo", "--on", "a\n\x1b[31m")


@pytest.mark.parametrize("text", ["-abs(x + 1) - 0.05 * effort", "-x**2", "-(x)"])
def test_the_text_of_an_option_may_begin_with_a_minus(text):
    assert options.parse(commands.COMMANDS["adapt"], "adapt", ["run", "--reward", text]).reward == text
