from __future__ import annotations

from tcmu_gluster.control.operations import OPERATIONS
from tcmu_gluster.foreign.plan import TCMU_RUNNER, chap


def test_a_password_is_in_the_arguments_alone() -> None:
    step = chap("iqn.2013-10.com.redhat", "joe", "secretsecret1", ("out", "secretsecret2"))
    assert "secretsecret" not in step.words and "secretsecret" not in repr(step)
    checked = OPERATIONS[step.op].check(step.args)
    assert (checked["user"], checked["password"], checked["mutual_user"], checked["mutual_password"]) == (
        "joe", "secretsecret1", "out", "secretsecret2",
    )  # fmt: skip
    assert OPERATIONS["chap.set"].check(chap("", "joe", "secretsecret1").args)["discovery"] is True


def test_tcmu_runner_calls_its_disks_so() -> None:
    # Vendor, product and revision of its standard INQUIRY data: 8, 16 and 4 characters
    assert TCMU_RUNNER == {"vendor": "LIO-ORG", "product": "TCMU device", "revision": "0002"}
