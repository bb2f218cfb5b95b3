"""kill -9 of the real command at drawn moments, also inside checksummed appends, concatenation and finish.

TUSPY_KILLS and TUSPY_KILL_SEED choose how many and which; `nox -s campaign_kill` runs 5000, and
`nox -s campaign_kill_drafts` as many lives (TUSPY_DRAFT_LIVES) of resumable uploads alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.killing import Campaign, Zygote
from tests.faults.killing_drafts import TOLD_AT_ONCE, TOLD_EVERY, DraftCampaign

KILLS = int(os.environ.get("TUSPY_KILLS", "200"))
DRAFT_LIVES = int(os.environ.get("TUSPY_DRAFT_LIVES", str(max(2 * TOLD_EVERY, KILLS // 8))))
SEED = int(os.environ.get("TUSPY_KILL_SEED", "1"))


@pytest.mark.parametrize("durability", ["none", "finish", "always"])
def test_no_kill_loses_an_acknowledged_byte(durability: str, tmp_path: Path) -> None:
    directory = tmp_path / "uploads"
    directory.mkdir()
    zygote = Zygote(directory, "--durability", durability)
    zygote.start()
    try:
        campaign = Campaign(directory, zygote, SEED)
        for _ in range(max(1, KILLS // 3)):
            campaign.live()
    finally:
        zygote.close()
    print(f"{durability}: {campaign.operations}")
    assert set(campaign.operations) == {"created", "appended", "checksummed", "concatenated"}


def test_no_kill_takes_back_what_a_draft_was_told(tmp_path: Path) -> None:
    directory = tmp_path / "uploads"
    directory.mkdir()
    zygote = Zygote(directory, "--interim-responses")
    zygote.start()
    try:
        campaign = DraftCampaign(directory, zygote, SEED)
        for _ in range(DRAFT_LIVES):
            campaign.live()
    finally:
        zygote.close()
    print(f"drafts: {dict(campaign.operations)}")
    if DRAFT_LIVES >= 100:  # a short campaign may end before each was drawn
        drawn = set(campaign.operations) - {"overtaken"}  # by a request that was cut, on a busy machine
        assert drawn == {"created", "appended", "verified", "cut", "interim", "told", "replayed"}
    assert campaign.operations["told"] == DRAFT_LIVES // TOLD_EVERY * TOLD_AT_ONCE
