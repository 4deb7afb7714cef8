"""Which flush errors stay."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.backends.lost_writes import LostWrites


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_that_means_lost_data_stays(number):
    lost = LostWrites()
    assert lost.error() is None
    error = OSError(number, "x")
    assert lost.note_flush(error) is error
    lost.note_flush(OSError(errno.EROFS, "later"))
    assert lost.error().errno == number
    assert lost.error().errno == number


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ETIMEDOUT])
def test_an_unreachable_storage_is_asked_again(number):
    lost = LostWrites()
    lost.note_flush(OSError(number, "x"))
    assert lost.error() is None


def test_a_durable_write_without_space_lost_nothing_but_one_with_eio_may_have():
    lost = LostWrites()
    lost.note_durable_write(OSError(errno.ENOSPC, "x"))
    assert lost.error() is None
    lost.note_durable_write(OSError(errno.EIO, "x"))
    assert lost.error().errno == errno.EIO
