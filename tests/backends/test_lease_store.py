"""Lease files beside a file: born exclusively, renewed through their handle, replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from tcmu_gluster.backends.lease_store import FileLeases, lease_path


def test_the_lease_lies_hidden_beside_the_disk() -> None:
    assert lease_path("/vms/disk3") == "/vms/.disk3.tcmu-gluster-lease"
    assert lease_path("/disk3", "0a1b") == "/.disk3.tcmu-gluster-lease.0a1b"


def test_only_one_can_create_it(tmp_path: Path) -> None:
    first, second = FileLeases(f"{tmp_path}/disk"), FileLeases(f"{tmp_path}/disk")
    assert first.read() is None and not first.exists()
    cell = first.create(b"one")
    assert cell is not None and second.create(b"two") is None
    assert second.read() == b"one"
    assert first.create(b"claim", "0a") is not None and second.create(b"claim", "0a") is None


def test_a_renewal_reaches_the_file_that_was_opened_and_not_its_successor(tmp_path: Path) -> None:
    first, second = FileLeases(f"{tmp_path}/disk"), FileLeases(f"{tmp_path}/disk")
    old = first.create(b"one")
    assert old is not None
    new = second.replace(b"two", "unique")
    old.write(b"ONE")
    assert first.read() == b"two" and old.read() == b"ONE"
    new.write(b"TWO")
    assert first.read() == b"TWO"
    again = first.open()
    assert again is not None and again.read() == b"TWO"
    for cell in (old, new, again):
        cell.close()
    assert [path.name for path in tmp_path.iterdir()] == [".disk.tcmu-gluster-lease"]
    first.remove()
    first.remove()
    assert first.read() is None and first.open() is None


def test_a_link_and_the_file_it_leads_to_have_one_lease(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/disk").touch()
    (tmp_path / "link").symlink_to("real/disk")
    assert FileLeases(f"{tmp_path}/link").create(b"x") is not None
    assert FileLeases(f"{tmp_path}/real/disk").read() == b"x"
    assert FileLeases(f"{tmp_path}/link").group == FileLeases(f"{tmp_path}/real/disk").group


def test_a_link_in_place_of_a_lease_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".disk.tcmu-gluster-lease").symlink_to(tmp_path / "elsewhere")
    assert FileLeases(f"{tmp_path}/disk").create(b"x") is None
    assert not (tmp_path / "elsewhere").exists()
