"""How many processes look for an upload that two hold at once, and for how long: 16 for 5 seconds, in the campaign
(TUSPY_SERVER_CAMPAIGN=1) for 60."""

from __future__ import annotations

import os

from tuspy_server.testing import LockerSuite

CAMPAIGN = bool(os.environ.get("TUSPY_SERVER_CAMPAIGN"))


class Churning(LockerSuite):
    processes = 16
    seconds = 60.0 if CAMPAIGN else 5.0


class OnSimulator:
    """For simulators of cloud services, which answer a thousand times slower than the service and share the machine
    with the processes: in the short form four of those, or the simulator comes late to renewals."""

    processes = 16 if CAMPAIGN else 4
    thread_seconds = 2.0
