"""Which connection carries data, and what happens to files and calls when the volume changes. No libgfapi: doubles."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.backends.graphs import AGAIN_SECONDS, LOOK_SECONDS, Handles, MountedVolume
from tcmu_gluster.errors import ConfigError


class FakeVolume:
    """A volume with a description that a test changes; `refusing` fixed connections fail."""

    def __init__(self, description: str = "first", origin: FakeVolume | None = None) -> None:
        self.name, self.description, self.origin = "vol", description, origin
        self.refusing = self.full = self.ended = self.complains = False
        self.asked = 0

    def volfile(self) -> str:
        return self.description

    def stat(self, path: str) -> None:
        self.asked += 1

    def fixed(self, description: str) -> FakeVolume:
        return FakeVolume(description, self)

    def mount(self) -> FakeVolume:
        if self.origin is not None and self.origin.refusing:
            raise ConfigError("no brick answers")
        return self

    def umount(self) -> None:
        self.ended = True
        if self.origin is not None and self.origin.complains:
            raise OSError(errno.EIO, "glfs_fini")


class FakeFile:
    def __init__(self, volume: FakeVolume) -> None:
        if volume.origin is not None and volume.origin.full:
            raise OSError(errno.ENOTCONN, "not connected")
        self.volume, self.name, self.closed, self.under_way = volume, "/disk", False, 0

    def close(self) -> None:
        self.closed = True


class FakeLoop:
    """Runs what it was given when turn() is called."""

    def __init__(self) -> None:
        self.due: list = []
        self.closed = False

    def call_soon_threadsafe(self, callback) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.due.append(callback)

    def turn(self) -> None:
        while self.due:
            self.due.pop(0)()


class Disk:
    """Handles as a backend has them; `used` is the file of its submissions."""

    def __init__(self, mounted: MountedVolume, loop: FakeLoop) -> None:
        first = mounted.open(FakeFile)
        self.used = first.file
        self.flushes: list = []
        self.handles = Handles(
            mounted, loop, first, open_on=FakeFile, taken=self.take, in_flight=lambda file: file.under_way,
            flush=self.flush,
        )  # fmt: skip

    def take(self, file: FakeFile) -> None:
        self.used = file

    def flush(self, file: FakeFile, done) -> None:
        file.under_way += 1
        self.flushes.append((file, done))

    def flushed(self, outcome) -> FakeFile:
        """The oldest flush ends."""
        file, done = self.flushes.pop(0)
        file.under_way -= 1
        done(outcome)
        return file


@pytest.fixture(autouse=True)
def no_thread(monkeypatch):
    """Looking is up to the test."""
    monkeypatch.setattr("tcmu_gluster.backends.graphs.threading.Thread.start", lambda thread: None)


@pytest.fixture
def volume():
    return FakeVolume()


@pytest.fixture
def mounted(volume):
    return MountedVolume(volume)


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def disk(mounted, loop):
    return Disk(mounted, loop)


def test_data_go_over_a_connection_made_from_the_description(volume, disk):
    assert disk.used.volume is not volume
    assert disk.used.volume.description == "first"


def test_nothing_happens_while_the_description_stays(volume, mounted, disk, loop):
    used = disk.used
    mounted.look()
    assert not loop.due
    assert disk.used is used
    assert volume.asked == 0


@pytest.fixture(params=["no description", "no fixed connection"])
def following(request, volume, loop):
    """A disk on the connection of administration, as there was no other."""
    if request.param == "no description":
        volume.description = ""
    else:
        volume.refusing = True
    disk = Disk(MountedVolume(volume), loop)
    assert disk.used.volume is volume
    return disk


def test_a_disk_without_a_fixed_connection_gets_one_when_there_can_be_one(volume, loop, following):
    mounted, used = following.handles._mounted, following.used
    mounted.look()
    loop.turn()
    assert following.used is used
    volume.description, volume.refusing = "first", False
    mounted.look()
    loop.turn()
    assert following.used.volume.description == "first"
    assert following.handles.unflushed() == [used], "nobody knows whether the volume has shards"


def test_the_connection_of_administration_never_ends(volume, loop, following):
    mounted, used = following.handles._mounted, following.used
    change(volume, mounted, loop)
    following.handles.close()
    mounted.end_old()
    assert used.closed
    assert not volume.ended


def test_what_does_not_work_is_tried_and_told_less_often(volume, mounted, loop, caplog):
    disk = Disk(mounted, loop)
    assert mounted.look() == LOOK_SECONDS
    volume.description, volume.refusing = "second", True
    assert [mounted.look() for _ in range(3)] == [AGAIN_SECONDS] * 3
    volume.refusing, volume.full = False, True
    assert [mounted.look() for _ in range(3)] == [AGAIN_SECONDS] * 3
    assert [record.levelname for record in caplog.records].count("WARNING") == 2
    volume.full = False
    assert mounted.look() == LOOK_SECONDS
    loop.turn()
    assert disk.used.volume.description == "second"


def test_a_change_moves_every_disk_and_the_old_connection_ends_after_its_last_call(volume, mounted, loop):
    disks = [Disk(mounted, loop), Disk(mounted, loop)]
    old = [disk.used for disk in disks]
    old[1].under_way = 1
    volume.description = "second"
    mounted.look()
    assert [disk.used for disk in disks] == old, "only the loop changes what it uses"
    loop.turn()
    assert {disk.used.volume.description for disk in disks} == {"second"}
    mounted.end_old()
    assert volume.asked == 1
    assert [file.closed for file in old] == [True, False]
    assert not old[0].volume.ended
    old[1].under_way = 0
    mounted.end_old()
    assert old[1].closed
    assert old[0].volume.ended
    assert not any(disk.used.closed or disk.used.volume.ended for disk in disks)


def test_a_call_outside_the_queue_keeps_its_file_open(volume, mounted, disk, loop):
    with disk.handles.held() as file:
        volume.description = "second"
        mounted.look()
        loop.turn()
        mounted.end_old()
        assert disk.used is not file
        assert not file.closed
    mounted.end_old()
    assert file.closed


def test_what_cannot_be_mounted_or_opened_yet_is_tried_again(volume, mounted, disk, loop, caplog):
    first = disk.used
    volume.description, volume.refusing = "second", True
    mounted.look()
    assert "data stay on the old connection: no brick answers" in caplog.text
    volume.refusing, volume.full = False, True
    mounted.look()
    loop.turn()
    assert disk.used is first
    volume.full = False
    mounted.look()
    loop.turn()
    assert disk.used.volume.description == "second"
    assert not disk.used.closed


def test_looking_again_before_the_loop_took_it_opens_no_other(volume, mounted, disk, loop):
    volume.description = "second"
    mounted.look()
    mounted.look()
    assert len(loop.due) == 1


def test_closing_ends_all_handles_also_one_that_was_on_its_way(volume, mounted, disk, loop):
    first = disk.used
    volume.description = "second"
    mounted.look()
    disk.handles.close()
    loop.turn()
    assert disk.used is first
    assert first.closed
    mounted.end_old()
    assert first.volume.ended
    assert mounted.graph.files == 0


def test_closing_leaves_a_handle_with_calls_under_way_and_its_connection(mounted, volume, disk, loop):
    disk.used.under_way = 2
    volume.description = "second"
    mounted.look()
    loop.turn()
    disk.used.under_way = 1
    assert disk.handles.unreturned() == 3
    old = [opened.file for opened in disk.handles._retired]
    disk.handles.close()
    mounted.end_old()
    assert not disk.used.closed
    assert not old[0].closed
    assert not old[0].volume.ended


def test_a_loop_that_has_ended_takes_nothing(volume, mounted, disk, loop):
    first = disk.used
    loop.closed = True
    volume.description = "second"
    mounted.look()
    assert disk.used is first
    assert mounted.graph.files == 0


def test_an_unopened_file_keeps_no_connection(volume, mounted):
    volume.full = True
    with pytest.raises(OSError):
        mounted.open(FakeFile)
    assert mounted.graph.files == 0


def change(volume, mounted, loop, description="second"):
    """The volume changes, and its disks go over."""
    volume.description = description
    mounted.look()
    loop.turn()


def test_going_over_does_not_wait_for_what_ends(volume, mounted, disk, loop, monkeypatch):
    """glfs_fini may take very long, and what is written meanwhile must not miss a brick that was added."""
    for blocking in ("close", "umount", "stat"):
        owner = FakeFile if blocking == "close" else FakeVolume
        monkeypatch.setattr(owner, blocking, lambda *_: pytest.fail("this would block"))
    for description in ("second", "third", "fourth"):
        change(volume, mounted, loop, description)
        assert disk.used.volume.description == description


def test_a_connection_that_ends_with_an_error_keeps_no_other(volume, mounted, loop):
    volume.complains = True
    old = []
    for description in ("second", "third"):
        disk = Disk(mounted, loop)
        old.append(disk.used.volume)
        change(volume, mounted, loop, description)
    mounted.end_old()
    assert [each.ended for each in old] == [True, True]


def test_a_closed_disk_is_neither_held_nor_renewed(mounted, disk):
    disk.handles.close()
    with pytest.raises(OSError) as held, disk.handles.held():
        pytest.fail("its file is closed")
    with pytest.raises(OSError) as renewed:
        disk.handles.renew()
    assert held.value.errno == renewed.value.errno == errno.EBADF
    assert mounted.graph.files == 0


def test_closing_waits_for_calls_outside_the_queue_or_leaves_their_file_open(mounted, disk):
    with disk.handles.held() as file:
        assert disk.handles.unreturned() == 1
        disk.handles.close()
        assert not file.closed


SHARDED = "volume one-shard\n    type features/shard\n%s"


@pytest.fixture
def sharded(volume):
    volume.description = SHARDED % "first"
    return volume


def test_a_sharded_volumes_old_handle_ends_after_a_flush_of_its_own_which_follows_its_last_call(sharded, mounted, loop):
    disk = Disk(mounted, loop)
    old = disk.used
    old.under_way = 1
    change(sharded, mounted, loop, SHARDED % "second")
    assert disk.handles.unflushed() == [old]
    mounted.end_old()
    loop.turn()
    assert not disk.flushes, "a write is under way"
    old.under_way = 0
    for outcome in (OSError(errno.ENOTCONN, "not connected"), 0):
        mounted.end_old()
        loop.turn()
        assert disk.handles.unflushed() == [old]
        assert not old.closed
        assert disk.flushed(outcome) is old
    assert disk.handles.unflushed() == []
    mounted.end_old()
    assert old.closed
    assert old.volume.ended


def test_an_old_connection_that_cannot_flush_is_told_once(sharded, mounted, loop, caplog):
    disk = Disk(mounted, loop)
    change(sharded, mounted, loop, SHARDED % "second")
    for _ in range(3):
        mounted.end_old()
        loop.turn()
        disk.flushed(OSError(errno.ENOTCONN, "not connected"))
    assert caplog.text.count("no flush succeeds until its bricks answer") == 1


def test_a_last_flush_that_is_refused_is_tried_again(sharded, mounted, loop, monkeypatch):
    disk = Disk(mounted, loop)
    old = disk.used
    change(sharded, mounted, loop, SHARDED % "second")
    refusals = [OSError(errno.EAGAIN, "too many"), OSError(errno.EIO, "lost")]

    def refuse(file, done) -> None:
        raise refusals.pop(0)

    monkeypatch.setattr(disk.handles, "_flush", refuse)
    for refused in (True, False):  # EIO is remembered by the backend, which has judged it
        mounted.end_old()
        loop.turn()
        assert disk.handles.unflushed() == ([old] if refused else [])
    assert not refusals


def test_a_flush_that_says_that_data_are_lost_is_the_last_one_there(sharded, mounted, loop):
    """The error is used up, and the backend has noted it for every later flush."""
    disk = Disk(mounted, loop)
    old = disk.used
    change(sharded, mounted, loop, SHARDED % "second")
    mounted.end_old()
    loop.turn()
    disk.flushed(OSError(errno.EIO, "lost"))
    mounted.end_old()
    assert old.closed
    assert not disk.flushes


def test_another_handle_on_the_same_connection_flushes_for_the_one_before(sharded, mounted, loop):
    disk = Disk(mounted, loop)
    disk.handles.renew()
    loop.turn()
    assert disk.handles.unflushed() == []


def test_a_volume_without_shards_needs_no_flush_of_old_handles(volume, mounted, disk, loop):
    change(volume, mounted, loop)
    assert disk.handles.unflushed() == []


def test_a_volume_is_watched_while_it_has_disks(volume, mounted, loop):
    assert mounted._watch() == AGAIN_SECONDS
    disk = Disk(mounted, loop)
    volume.description = "second"
    assert mounted._watch() == LOOK_SECONDS
    assert mounted.graph.description == "second"
    disk.handles.close()
    volume.description = "third"
    assert mounted._watch() == AGAIN_SECONDS
    assert mounted.graph.description == "second"
