"""Every fuzz target runs a little with every test run, and old findings stay fixed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.campaign import input_at
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

# One entry for each input that has been a finding.
FOUND = [
    # An IPv6 zone that `ipaddress` does not know made `is_loopback` raise.
    ("multiaddr", b"/ip6zone/%eth0/ip6/::1/tcp/1".hex()),
    # As did an IPv4 address behind a zone.
    ("multiaddr", b"/ip6zone/eth0/ip4/127.0.0.1/tcp/1".hex()),
    # Bad text with a bad frame behind it in one piece got no close frame.
    ("websocket", "8181" + "00000000" + "ff" + "8101" + "78"),
    # The plain fan-out went on coalescing after its last gap was told.
    ("fanout", "cefd8a46ff43063a7774cdce52bcd7722c72a412b68b"),
]


@pytest.mark.parametrize("name", TARGETS)
def test_targets_hold_on_a_few_inputs(name: str) -> None:
    target = TARGETS[name]()
    rng = Random(f"a few {name}")
    for _ in range(int(100 * max(target.share, 0.1))):
        data = target.draw(rng)
        try:
            target.check(data)
        except Exception:
            print(f"{name} on {data.hex()}")
            raise


@pytest.mark.parametrize("name", [name for name in TARGETS if TARGETS[name].goals])
def test_inputs_reach_what_the_target_is_for(name: str) -> None:
    target = TARGETS[name]()
    rng = Random(f"reach {name}")
    for _ in range(4000):
        target.check(target.draw(rng))
    assert [goal for goal in target.goals if not target.reached[goal]] == []


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_old_findings_stay_fixed(name: str, data: str) -> None:
    TARGETS[name]().check(bytes.fromhex(data))


class Picky(Target):
    name = "picky"

    def draw(self, rng: Random) -> bytes:
        return rng.randbytes(2)

    def check(self, data: bytes) -> None:
        assert data[0] != 7


def test_a_finding_is_told_with_its_input() -> None:
    # A process of its own, because a campaign forks and pytest may have threads.
    code = (
        "from tests.fuzz import campaign, test_targets;"
        "campaign.run_campaign(test_targets.Picky(), 100_000, 3)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search("seed 3, .*\n.* picky --input 07[0-9a-f]{2}\n", result.stderr)


def test_an_input_can_be_drawn_again_from_its_place() -> None:
    target = Picky()
    assert input_at(target, 3, [0, 0]) != input_at(target, 3, [0, 1])
    assert input_at(target, 3, [5, 9]) == input_at(target, 3, [5, 9])
