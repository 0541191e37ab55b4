"""`python -m onebody`: the command line."""

import sys

from onebody.cli import main

sys.exit(main())
