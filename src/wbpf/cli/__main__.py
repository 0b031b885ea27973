"""`python -m wbpf.cli`."""

import sys

from wbpf.cli import main

sys.exit(main())
