"""COPY ABORTED sense in both formats; expected bytes from SPC-4 4.5 and 5.17.7.4."""

from __future__ import annotations

from tcmu_gluster.scsi.command import Response, Status
from tcmu_gluster.scsi.copy_sense import DESTINATION, SOURCE, CopyAborted, PartFailed
from tcmu_gluster.scsi.sense import Asc

FIXED = bytes.fromhex("70000300000000 0a 00000000 1100 00 000000")
FAILED = PartFailed(SOURCE, Response(Status.CHECK_CONDITION, (), FIXED))


def test_fixed_format_with_the_source_s_sense_behind_it():
    sense = CopyAborted(Asc.THIRD_PARTY_DEVICE_FAILURE, 3, residual=7, pointer=16, in_list=True, failed=FAILED).sense()
    assert sense == bytes.fromhex("f0000a 00000007 1d 12000003 0d01 00 800010 02") + FIXED


def test_the_destination_has_the_second_byte():
    failed = PartFailed(DESTINATION, Response(Status.BUSY))
    sense = CopyAborted(Asc.THIRD_PARTY_DEVICE_FAILURE, 1, failed=failed).sense()
    assert sense == bytes.fromhex("70000a 00000000 0b 00120001 0d01 00 000000 08")


def test_a_pointer_into_the_segment_sets_sd():
    sense = CopyAborted(Asc.NO_ADDITIONAL_SENSE_INFORMATION, 0, pointer=12).sense()
    assert sense == bytes.fromhex("70000a 00000000 0a 00000000 0000 00 a0000c")


def test_descriptor_format_forwards_in_a_descriptor():
    sense = CopyAborted(Asc.THIRD_PARTY_DEVICE_FAILURE, 3, pointer=48, in_list=True, failed=FAILED).sense(True)
    assert sense[:8] == bytes.fromhex("720a0d01000000") + bytes((len(sense) - 8,))
    assert sense[8:] == (
        bytes.fromhex("010a0000 0000000000000003") + bytes.fromhex("02060000 800030 00")
        + bytes((0x0C, 2 + len(FIXED), 0x01, 0x02)) + FIXED
    )  # fmt: skip


def test_what_is_too_long_is_cut_and_says_so():
    failed = PartFailed(SOURCE, Response(Status.CHECK_CONDITION, (), bytes(200)))
    sense = CopyAborted(Asc.THIRD_PARTY_DEVICE_FAILURE, 0, failed=failed).sense(True)
    at = sense.index(b"\x0c", 8)
    assert sense[at : at + 4] == bytes((0x0C, 66, 0x81, 0x02)) and len(sense) == at + 4 + 64
    assert "source" in str(failed)
