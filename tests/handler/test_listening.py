"""What is said where a portal can't be had."""

from __future__ import annotations

import socket

import pytest

from handler.listening import listener_at
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.errors import ConfigError


def refusal(portal: Portal, *own: Portal) -> str:
    with pytest.raises(ConfigError) as refused:
        listener_at(portal, own).close()
    return str(refused.value)


@pytest.mark.parametrize(("address", "everywhere"), [("127.0.0.1", "0.0.0.0"), ("::1", "::")])
def test_an_address_and_all_addresses_exclude_each_other(address: str, everywhere: str) -> None:
    with listener_at(Portal(address, 0)) as taken:
        port = taken.getsockname()[1]
        single, all_ = Portal(address, port), Portal(everywhere, port)
        said = refusal(all_, Portal(address, port + 1 if port < 65535 else 1), single)
        assert said.startswith(f"{all_} and {single}, which is served here, exclude each other")
        assert f"take {single} away first" in said
        assert "in use by another program" in refusal(single, single)
        assert "in use by another program" in refusal(all_)


def test_what_is_no_address_of_this_machine() -> None:
    assert "not an address of this machine" in refusal(Portal("192.0.2.1", 0))


def test_both_families_have_a_portal_on_one_port() -> None:
    with listener_at(Portal("0.0.0.0", 0)) as four, listener_at(Portal("::", four.getsockname()[1])) as six:
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
