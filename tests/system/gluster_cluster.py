"""Three Gluster servers in three networks of their own, so that one of them can lose its network.

    with GlusterCluster() as cluster:
        cluster.create_volume("block", BLOCK_OPTIONS)              # replica 3, a brick on each server
        with cluster.first.entered():                              # a client lives beside the first server
            cluster.cut_off(2); ...; cluster.join_again(2)         # what the second sends and is sent vanishes

Every server is a GlusterServer; a bridge in the network of the first joins them. Needs root and glusterfs-server.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from xml.etree import ElementTree

from tests.system.gluster_server import GlusterServer

BRIDGE = "bridge0"
SUBNET = "10.66.0.0/24"
SERVERS = (1, 2, 3)
START_SECONDS = 60.0


class GlusterCluster:
    """The servers, by number from 1."""

    def __init__(self) -> None:
        self.servers = {number: GlusterServer(host=f"10.66.0.{number}") for number in SERVERS}
        self.first = self.servers[1]

    def __enter__(self) -> GlusterCluster:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> GlusterCluster:
        """Returns when every server knows the others. Raises RuntimeError."""
        for server in self.servers.values():
            server.start()
        self._in_network(1, "link", "add", BRIDGE, "type", "bridge")
        self._in_network(1, "link", "set", BRIDGE, "up")
        self._route(1, BRIDGE)
        for number in SERVERS[1:]:
            self._join(number)
        for number in SERVERS[1:]:
            self.first.gluster("peer", "probe", self.servers[number].host)
        self._until_connected()
        return self

    def stop(self) -> None:
        """End all of them."""
        for server in reversed(self.servers.values()):
            server.stop()

    def _in_network(self, number: int, *words: str) -> None:
        """The ip command in a server's network, but with the machine's process numbers."""
        command = ["nsenter", "--target", str(self.servers[number].inner_pid), "--net", "--", "ip", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")

    def _route(self, number: int, device: str) -> None:
        self._in_network(number, "route", "add", SUBNET, "dev", device, "src", self.servers[number].host)

    def _join(self, number: int) -> None:
        """A pair of virtual Ethernet devices from the server's network to the bridge."""
        link, there = f"link{number}", str(self.servers[number].inner_pid)
        self._in_network(1, "link", "add", "name", link, "type", "veth", "peer", "name", "eth0", "netns", there)
        self._in_network(1, "link", "set", link, "master", BRIDGE, "up")
        self._in_network(number, "link", "set", "eth0", "up")
        self._route(number, "eth0")

    def _until_connected(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            peers = ElementTree.fromstring(self.first.gluster("pool", "list", "--xml"))
            if sum(node.text == "1" for node in peers.iter("connected")) == len(SERVERS):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the servers did not find each other:\n{self.first.logs()}")
            time.sleep(0.2)

    def create_volume(self, name: str, options: Mapping[str, str]) -> None:
        """Make and start a volume with a replica on each server."""
        bricks = []
        for server in self.servers.values():
            folder = server.folder / "bricks" / name
            folder.mkdir(parents=True)
            bricks.append(f"{server.host}:{folder / 'brick'}")
        self.first.gluster("volume", "create", name, "replica", str(len(bricks)), *bricks, "force")
        self.first.set_options(name, options)
        self.first.gluster("volume", "start", name)

    def cut_off(self, number: int) -> None:
        """A server other than the first loses its network, without a word to anybody."""
        self._in_network(1, "link", "set", f"link{number}", "down")

    def join_again(self, number: int) -> None:
        """It has its network again."""
        self._in_network(1, "link", "set", f"link{number}", "up")
