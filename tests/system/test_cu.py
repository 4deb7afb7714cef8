"""The parser of iscsi-test-cu's output (text laid out as CUnit 2.1-3's Basic.c prints it in verbose mode)."""

from __future__ import annotations

from tests.system import cu

TEXT = """

     CUnit - A unit testing framework for C - Version 2.1-3
     http://cunit.sourceforge.net/


Suite: CompareAndWrite
  Test: Simple ...passed
  Test: DpoFua ...    [SKIPPED] COMPAREANDWRITE is not implemented.
passed
  Test: Miscompare ...    [FAILED] COMPARE_AND_WRITE command: failed with sense
FAILED
    1. test_compareandwrite_miscompare.c:56  - 0 == 1
    2. test_compareandwrite_miscompare.c:60  - ret == 0
Suite: Reserve6
  Test: Logout ...    Test that RESERVE6 is released on logout
    [OK] command succeededpassed
  Test: LUNReset ...    [SKIPPED] RESERVE6 is not implemented on targetFAILED
    1. test_reserve6_lun_reset.c:40  - CU_FAIL
  Test: ITNexusLoss ...    Waiting

Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites      2      2    n/a      0        0
               tests      6      6      4      2        0
"""


def outcomes() -> dict[str, str]:
    return {result.name: result.outcome for result in cu.parse(TEXT)}


def test_every_test_is_found_once_in_order() -> None:
    assert [result.name for result in cu.parse(TEXT)] == [
        "CompareAndWrite.Simple",
        "CompareAndWrite.DpoFua",
        "CompareAndWrite.Miscompare",
        "Reserve6.Logout",
        "Reserve6.LUNReset",
        "Reserve6.ITNexusLoss",
    ]


def test_a_skip_is_not_a_pass() -> None:
    assert outcomes()["CompareAndWrite.DpoFua"] == "skipped"
    reasons = {result.name: result.reason for result in cu.parse(TEXT)}
    assert reasons["CompareAndWrite.DpoFua"] == "COMPAREANDWRITE is not implemented."


def test_a_logged_failed_tag_is_no_verdict_and_records_are_the_reason() -> None:
    result = cu.parse(TEXT)[2]
    assert result.outcome == "failed"
    assert result.reason == (
        "test_compareandwrite_miscompare.c:56  - 0 == 1; test_compareandwrite_miscompare.c:60  - ret == 0"
    )


def test_verdict_glued_to_the_last_log_line_is_found() -> None:
    assert outcomes()["Reserve6.Logout"] == "passed"


def test_a_test_that_skips_and_fails_has_failed() -> None:
    assert outcomes()["Reserve6.LUNReset"] == "failed"


def test_a_test_without_verdict_is_unfinished() -> None:
    assert outcomes()["Reserve6.ITNexusLoss"] == "unfinished"


def test_cut_off_output_leaves_its_last_test_unfinished() -> None:
    assert cu.parse("Suite: Read10\n  Test: Simple ...")[-1].outcome == "unfinished"


def test_counts_name_all_outcomes() -> None:
    assert cu.counts(cu.parse(TEXT)) == {"passed": 2, "failed": 2, "skipped": 1, "unfinished": 1}
    assert cu.names(cu.parse(TEXT), cu.FAILED) == ["CompareAndWrite.Miscompare", "Reserve6.LUNReset"]


def test_log_line_behind_the_verdict_is_none() -> None:
    # libiscsi 1.19 against LIO's fileio: the clean-up after the last test of a suite logs behind its verdict
    text = (
        "Suite: Reserve6\n  Test: LUNReset ...passed    [FAILED] PRIN command: failed with sense. "
        "SENSE KEY:UNIT_ATTENTION(6) ASCQ:BUS_DEVICE_RESET_FUNCTION_OCCURED(0x2903)\n\nSuite: Sanitize\n"
    )
    assert [(result.name, result.outcome) for result in cu.parse(text)] == [("Reserve6.LUNReset", "passed")]


def test_a_record_that_repeats_is_told_once() -> None:
    record = "    {}. test_verify16_mismatch.c:69  - CU_ASSERT_EQUAL(_r,0)\n"
    text = "Suite: Verify16\n  Test: Mismatch ...FAILED\n" + record.format(1) + record.format(2)
    assert cu.parse(text)[0].reason == "test_verify16_mismatch.c:69  - CU_ASSERT_EQUAL(_r,0)"


def test_a_skip_behind_the_verdict_is_the_clean_ups() -> None:
    # libiscsi 1.19 against a target without persistent reservations: after each suite it tries to clear them
    text = (
        "Suite: GetLBAStatus\n  Test: BeyondEol ...\n    [OK] GET_LBA_STATUS returned SUCCESS\n"
        "passed    Send PRIN/READ_KEYS\n    [SKIPPED] PERSISTENT RESERVE IN is not implemented.\n\nSuite: Inquiry\n"
    )
    assert cu.parse(text) == [cu.Result("GetLBAStatus", "BeyondEol", "passed", "")]
