"""moto, one request after the other: python -m tests.lockers.moto_in_turn PORT

Its own server answers in threads and looks at a condition before it writes without a lock, so that several of those
who race on one condition may win.
"""

from __future__ import annotations

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


def main(port: int) -> None:
    run_simple("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
