"""Lets `python3 -m runner` run `main`; called by clients.sh."""

import sys

from runner.main import main

sys.exit(main(sys.argv[1:]))
