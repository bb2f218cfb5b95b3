"""`python -m tuspy_server` is the `tuspy-server` command."""

import sys

from tuspy_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
