"""`python -m wbpf.cli`."""

import sys

from wbpf.cli.app import main

sys.exit(main())
