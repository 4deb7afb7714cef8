"""What Gluster disks share."""

from __future__ import annotations

import pytest

from tcmu_gluster.backends import volumes
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.native.connect import Server


@pytest.mark.parametrize(
    "uri, servers",
    [
        ("gluster://gl1/v/f", [Server("gl1", 24007)]),
        ("gluster://gl1:24000,[fd00::1]/v/f", [Server("gl1", 24000), Server("fd00::1", 24007)]),
        ("gluster+rdma://gl1/v/f", [Server("gl1", 24007, "tcp")]),
        ("gluster+unix:///v/f?socket=/run/g.socket", [Server("/run/g.socket", 0, "unix")]),
    ],
)
def test_the_servers_of_a_backing(uri, servers):
    assert volumes.servers_of(parse_backing(uri)) == servers


REPLICA = "volume r-0\n    type cluster/replicate\n    subvolumes r-client-0 r-client-1 r-client-2\nend-volume\n"
DISPERSE = """\
volume d-client-0
    type protocol/client
    option remote-host 10.66.0.1
end-volume

volume d-disperse-0
    type cluster/disperse
    option self-heal-daemon enable
    option redundancy {}
    subvolumes {}
end-volume
"""


@pytest.mark.parametrize(
    ("volfile", "bricks"),
    [
        ("", 1),
        (REPLICA, 1),
        (DISPERSE.format(1, "d-client-0 d-client-1 d-client-2"), 2),
        (DISPERSE.format(2, " ".join(f"d-client-{number}" for number in range(6))), 4),
        (DISPERSE.format(2, ""), 1),  # no graph that makes sense
    ],
)
def test_how_many_bricks_the_data_of_a_stripe_lies_on(volfile, bricks):
    assert volumes.stripe_bricks(volfile) == bricks
