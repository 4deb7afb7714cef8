"""What Gluster disks share."""

from __future__ import annotations

import pytest

from tcmu_gluster.backends import volumes
from tcmu_gluster.backends.graphs import MountedVolume
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.native.connect import Server
from tcmu_gluster.native.libgfapi import Volume


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


def test_a_log_that_grew_too_large_is_copied_and_cut(tmp_path, monkeypatch):
    log = tmp_path / "gluster.log"

    class Logging(Volume):
        def __init__(self) -> None:
            self.log_path = str(log)

    monkeypatch.setattr(volumes, "_volumes", {("key",): MountedVolume(Logging())})
    volumes.bound_logs(10)  # there is none yet
    log.write_bytes(b"0123456789")
    volumes.bound_logs(10)
    assert log.read_bytes() == b"0123456789"
    with log.open("ab") as gluster:  # Gluster's own descriptor, which goes on at the new end
        gluster.write(b"+")
        gluster.flush()
        volumes.bound_logs(10)
        gluster.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "gluster.log.1").read_bytes() == b"0123456789+"
