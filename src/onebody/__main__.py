"""`python -m onebody`: the command line."""

from onebody.cli import run

run()
