"""`python -m wbpf`."""

import sys

from wbpf.cli import main

sys.exit(main())
