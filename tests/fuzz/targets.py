"""What is fuzzed, by name: a function that takes any bytes and raises only when something of ours is broken, the
modules whose branches guide the fuzzer, and the longest input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz import iscsi, scsi, tcmu, words


class Target(NamedTuple):
    """One fuzz target."""

    run: Callable[[bytes], None]
    instrumented: tuple[str, ...]
    longest_bytes: int = 1024
    share: int = 1
    """Of a campaign's executions."""


TARGETS: dict[str, Target] = {
    "pdu_stream": Target(iscsi.pdu_stream, ("tcmu_gluster.iscsi",), 2048, 4),
    "text_keys": Target(iscsi.text_keys, ("tcmu_gluster.iscsi",), 1024, 3),
    "commands": Target(scsi.commands, ("tcmu_gluster.scsi",), 1024, 3),
    "any_cdb": Target(scsi.any_cdb, ("tcmu_gluster.scsi",), 256, 1),
    "unit_record": Target(scsi.unit_record, ("tcmu_gluster.scsi.persistence",), 512, 6),
    "sections": Target(scsi.sections, ("tcmu_gluster.scsi",), 256, 1),
    "ring_history": Target(tcmu.ring_history, ("tcmu_gluster.tcmu",), 512, 6),
    "ring_damage": Target(tcmu.ring_damage, ("tcmu_gluster.tcmu",), 512, 8),
    "control_lines": Target(words.control_lines, ("tcmu_gluster.control",), 1024, 8),
    "control_arguments": Target(words.control_arguments, ("tcmu_gluster.control", "tcmu_gluster.config"), 256, 10),
    "config_strings": Target(words.config_strings, ("tcmu_gluster.config", "tcmu_gluster.tcmu.cfgstring"), 256, 8),
    "saveconfig": Target(words.saveconfig, ("handler.configuration", "handler.operations.whole", "handler.accounts",
                                            "handler.schema"), 4096, 8),
}  # fmt: skip
