from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.cli.importing import Importer, read_plan
from tcmu_gluster.cli.main import main
from tcmu_gluster.control.client import DaemonUnreachable
from tcmu_gluster.errors import ConfigError, OperationError
from tcmu_gluster.foreign.plan import Group, Plan, Step
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"
ALLOW = Step("acl.allow", "let every initiator log in", {"target": IQN, "rule": "all"})


class Waiting:
    """The daemon as the command sees it: one answer after the other, from another thread than the daemon's."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.loop = desk, asyncio.get_running_loop()

    def call(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        return asyncio.run_coroutine_threadsafe(self.desk.do(name, **args), self.loop).result(30)


async def imported(desk: Desk, plan: Plan) -> tuple[list[dict[str, Any]], list[str]]:
    """(outcomes, notes)."""
    importer = Importer(Waiting(desk))
    return await asyncio.to_thread(importer.run, plan), importer.notes


def on_desk(tmp_path: Path, scenario: Callable[[Desk], Awaitable[None]]) -> None:
    run_desk(tmp_path, scenario, lio=False)


def image(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(bytes(65536))
    return path


def conf(tmp_path: Path, text: str) -> str:
    path = tmp_path / "targets.conf"
    path.write_text(text)
    return str(path)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_program_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0\n\0")
    with pytest.raises(ConfigError, match=r"is no text; name a targets\.conf"):
        read_plan(str(tmp_path / "program"), "")


def test_a_file_of_which_nothing_is_understood_is_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", conf(tmp_path, "root:x:0\n"), "--dry-run"]) == 1
    assert "not understood" in capsys.readouterr().err
    assert main(["import", conf(tmp_path, ""), "--dry-run"]) == 0


def test_the_form_is_seen_from_the_file(tmp_path: Path) -> None:
    image(tmp_path, "a")
    text = f"<target {IQN}>\nbacking-store {tmp_path}/a\n</target>\n"
    assert [group.name for group in read_plan(conf(tmp_path, text), "").groups] == [IQN]
    (tmp_path / "saveconfig.json").write_text('\n{"storage_objects": []}')
    assert [s.op for s in read_plan(str(tmp_path / "saveconfig.json"), "").groups[0].steps] == ["restore"]
    folder = tmp_path / "block-meta"
    folder.mkdir()
    (folder / "meta.lock").touch()
    (folder / "sample").write_text("VOLUME: v\n")
    assert read_plan(str(folder), "").notes == (
        "skipped sample: it has no GBID, so it is no metadata of gluster-block",
    )
    with pytest.raises(ConfigError, match="is no JSON"):
        read_plan(conf(tmp_path, text), "saveconfig.json")


def test_includes_are_found_beside_the_file_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("b", "a"):
        (tmp_path / "conf.d" / f"{name}.conf").write_text(f"<target {IQN}:{name}>\n</target>\n")
    for words in ("conf.d/*.conf", "conf.d"):
        plan = read_plan(conf(tmp_path, f"include {words}\n"), "")
        assert [group.name for group in plan.groups] == [f"{IQN}:a", f"{IQN}:b"]


def test_a_file_that_cant_be_read_is_one_sentence(tmp_path: Path) -> None:
    for form in ("", "gluster-block"):
        with pytest.raises(ConfigError, match="can't be read: No such file"):
            read_plan(str(tmp_path / "none"), form)


# -- doing ------------------------------------------------------------------------------------------------------------


def test_a_targets_conf_is_taken_over_and_a_second_time_is_already_so(tmp_path: Path) -> None:
    image(tmp_path, "disk3")
    plan = read_plan(
        conf(tmp_path, f"<target {IQN}>\nbacking-store {tmp_path}/disk3\ncontroller_tid 4\n</target>\n"), ""
    )

    async def scenario(desk: Desk) -> None:
        outcomes, notes = await imported(desk, plan)
        assert [(one["name"], one["outcome"]) for one in outcomes] == [(IQN, "done")]
        assert ["every initiator" in note for note in notes] == [True]
        (target,) = (await desk.do("tgt.show"))["targets"]
        assert (target["tid"], target["target"], target["rules"]) == (4, IQN, ["all"])
        (lun,) = target["luns"]
        assert (lun["lun"], lun["serial"], lun["scsi_id"], lun["vendor"]) == (1, "beaf41", "IET     00040001", "IET")
        assert lun["naa"] == "60000000000000000e00000000040001,3000000400000001"
        unit = desk.engine.disks["disk3"].unit
        assert unit is not None and unit.identity.unit_serial_number == b"beaf41".rjust(36)
        before = desk.saved()
        outcomes, _ = await imported(desk, plan)
        assert [(one["name"], one["outcome"]) for one in outcomes] == [(IQN, "already so")]
        assert desk.saved() == before

    on_desk(tmp_path, scenario)


def test_a_group_that_fails_leaves_nothing_behind_and_the_next_is_done(tmp_path: Path) -> None:
    image(tmp_path, "a")
    text = (f"<target {IQN}:a>\nbacking-store {tmp_path}/a\nincominguser joe short\n</target>\n"
            f"<target {IQN}:b>\nbacking-store {tmp_path}/a\n</target>\n")  # fmt: skip

    async def scenario(desk: Desk) -> None:
        outcomes, _ = await imported(desk, read_plan(conf(tmp_path, text), ""))
        assert [(one["name"], one["outcome"]) for one in outcomes] == [(f"{IQN}:a", "refused"), (f"{IQN}:b", "done")]
        assert "the CHAP password of joe has 5 bytes" in outcomes[0]["reason"] and "short" not in outcomes[0]["reason"]
        shown = (await desk.do("tgt.show"))["targets"]
        assert [(one["target"], len(one["luns"])) for one in shown] == [(f"{IQN}:b", 1)]
        assert shown[0]["luns"][0]["serial"] == "beaf21", "the identity of the target that has it now"
        assert (tmp_path / "a").exists()

    on_desk(tmp_path, scenario)


def test_wherever_it_fails_the_state_is_what_it_was(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path, name)
    text = (f"<target {IQN}>\nbacking-store {tmp_path}/a\nbacking-store {tmp_path}/b\nincominguser joe secretsecret1\n"
            "state offline\n</target>\n")  # fmt: skip

    class Failing(Waiting):
        """Refuses the operation whose number that is, counted from 0."""

        left = 0

        def call(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
            if name != "tgt.show":
                self.left -= 1
                if self.left == -1:
                    raise OperationError("not today")
            return super().call(name, args)

    def kept(desk: Desk) -> Any:
        root, records = desk.saved(), sorted(path.name for path in tmp_path.rglob("disks/*"))
        ours = {
            key: value for key, value in root.pop("tcmu_gluster").items() if value
        }  # of no accounts there may be a list
        return root, ours, records

    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=f"{IQN}:other")
        before = kept(desk)
        plan = read_plan(conf(tmp_path, text), "")
        for number in range(len(plan.groups[0].steps)):
            daemon = Failing(desk)
            daemon.left = number
            outcomes = await asyncio.to_thread(Importer(daemon).run, plan)
            assert "not today" in outcomes[0]["reason"]
            assert kept(desk) == before, number
        outcomes, _ = await imported(desk, plan)
        assert outcomes[0]["outcome"] == "done" and kept(desk) != before

    on_desk(tmp_path, scenario)


def test_a_tid_that_is_taken_is_not_insisted_on(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=f"{IQN}:other", tid=1)
        outcomes, notes = await imported(desk, read_plan(conf(tmp_path, f"<target {IQN}>\n</target>\n"), ""))
        assert outcomes[0]["outcome"] == "done"
        assert f"{IQN} gets another tid than 1, which {IQN}:other has; initiators don't see it" in notes

    on_desk(tmp_path, scenario)


def test_a_disk_that_was_here_before_keeps_its_names_and_that_is_said(tmp_path: Path) -> None:
    image(tmp_path, "disk3")

    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="mine", uri=f"file://{tmp_path}/disk3")
        text = f"<target {IQN}>\nbacking-store {tmp_path}/disk3\n</target>\n"
        _, notes = await imported(desk, read_plan(conf(tmp_path, text), ""))
        (note,) = [note for note in notes if "was here before" in note]
        assert "keeps its unit_serial, vendor, naa, scsi_id" in note

    on_desk(tmp_path, scenario)


def test_what_was_there_before_stays_when_a_group_fails(tmp_path: Path) -> None:
    wrong = Step("acl.allow", "let somebody in", {"target": IQN, "rule": "nonsense"})

    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule="192.0.2.0/24")
        make = Step("target.create", "make it", {"target": IQN})
        outcomes, _ = await imported(desk, Plan((Group(IQN, (make, ALLOW, wrong)),)))
        assert outcomes[0]["outcome"] == "refused"
        assert (await desk.do("tgt.show"))["targets"][0]["rules"] == ["192.0.2.0/24"]

    on_desk(tmp_path, scenario)


def test_a_password_that_was_replaced_before_a_failure_is_said(tmp_path: Path) -> None:
    args = {"target": IQN, "user": "joe", "password": "secretsecret1"}
    wrong = Step("acl.allow", "let somebody in", {"target": IQN, "rule": "nonsense"})

    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        plan = Plan((Group(IQN, (Step("chap.set", "ask for the password of joe", args), wrong)),))
        _, notes = await imported(desk, plan)
        assert any("ask for the password of joe: this stays" in note for note in notes)

    on_desk(tmp_path, scenario)


def test_the_daemon_that_goes_away_ends_it() -> None:
    class Gone:
        def call(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
            raise DaemonUnreachable("it is gone")

    with pytest.raises(DaemonUnreachable):
        Importer(Gone()).run(Plan((Group(IQN, (ALLOW,)),)))


# -- the command ------------------------------------------------------------------------------------------------------


def test_dry_run_says_what_would_be_done_and_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = conf(tmp_path, f"<target {IQN}>\nincominguser joe secretsecret1\nfoo 1\n</target>\n")
    words = ["import", file, "--dry-run", "--control-socket", str(tmp_path / "none.sock")]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{IQN}: would be done", f"    make the target {IQN} (tid 1)", "    ask for the password of joe",
        "    let every initiator log in",
    ]  # fmt: skip
    assert err == f"tcmu-gluster: {file}:3: skipped foo: it is not understood\n"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["name"] == IQN
    assert main([word for word in words if word != "--dry-run"]) == 3
    (tmp_path / "targets.conf").write_text("# nothing\n")
    assert main(words) == 0
    assert capsys.readouterr().out == "there is nothing to take over\n"
