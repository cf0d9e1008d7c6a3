"""`python -m htr` is the command `htr`."""

import sys

from htr.cli import main

sys.exit(main())
