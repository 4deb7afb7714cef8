"""initiator-config: what initiators should be told, with time-outs computed from the settings.

One budget: Gluster's ping-timeout < our command limit < LIO's cmd_time_out < the initiator's SCSI command timer, so
that each waits for the one before it. Lost sessions are budgeted apart: under multipath a dead path is left in seconds,
and the last path's commands are kept for as long as another gateway may need to take the disk over.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from ..config.settings import Settings, load_settings
from .render import as_json

VENDOR: Final = "GLUSTER"
"""What INQUIRY says (scsi/identity.py)."""
POLLING_SECONDS: Final = 5
GRACE_SECONDS: Final = 2
"""handler/world.py: how much longer than the command limit a lease's follower waits."""


@dataclass(frozen=True)
class Times:
    """Seconds, and the one count that follows from them.

    command_timer       the SCSI command timer of the disk
    path_lost           under multipath: after this long without a session its commands go to the other path
    session_lost        without multipath: so long are they kept, because there is nowhere else to go
    ping_every, ping_timeout   iSCSI NOP-Out: how soon a dead path is noticed
    takeover            the longest a gateway needs to take a disk over whose holder died
    no_path_retries     looks of multipathd, POLLING_SECONDS apart, that bridge it
    """

    gluster_ping_timeout: int
    command_limit: int
    lio_cmd_time_out: int
    command_timer: int
    path_lost: int
    session_lost: int
    ping_every: int
    ping_timeout: int
    takeover: int
    no_path_retries: int
    queue_depth: int

    @staticmethod
    def of(settings: Settings) -> Times:
        """From the budget."""
        lease = settings.lease_seconds
        wait = (lease + settings.command_limit_seconds + GRACE_SECONDS) * 1.01 if lease else 0.0
        takeover = math.ceil(wait + settings.retry_seconds)
        return Times(
            gluster_ping_timeout=settings.gluster_ping_timeout_seconds,
            command_limit=settings.command_limit_seconds,
            lio_cmd_time_out=settings.lio_cmd_time_out_seconds,
            command_timer=settings.initiator_timer_seconds,
            path_lost=5,
            session_lost=max(120, 2 * takeover),
            ping_every=5,
            ping_timeout=5,
            takeover=takeover,
            no_path_retries=math.ceil(2 * takeover / POLLING_SECONDS),
            queue_depth=min(32, settings.session_commands),
        )


def multipath_conf(times: Times) -> str:
    """/etc/multipath.conf. Braces close on lines of their own: multipathd refuses sections on one line."""
    return f"""\
# multipath.conf for disks of tcmu-gluster
defaults {{
	user_friendly_names yes
	find_multipaths yes
	polling_interval {POLLING_SECONDS}
}}
devices {{
	device {{
		vendor "{VENDOR}"
		product ".*"
		# Paths of equal priority share the load; where the target reports priorities (ALUA) they decide.
		path_grouping_policy group_by_prio
		path_selector "service-time 0"
		path_checker tur
		detect_prio yes
		prio const
		failback immediate
		fast_io_fail_tmo {times.path_lost}
		# Without any path, commands wait for {times.no_path_retries * POLLING_SECONDS} s: twice what a gateway needs \
to take the disk over ({times.takeover} s).
		no_path_retry {times.no_path_retries}
	}}
}}
"""


def iscsid_conf(times: Times) -> str:
    """What belongs into /etc/iscsi/iscsid.conf on a host with multipath."""
    return f"""\
# iscsid.conf for disks of tcmu-gluster under multipath. Without multipath: replacement_timeout = {times.session_lost}
node.session.timeo.replacement_timeout = {times.path_lost}
node.conn[0].timeo.noop_out_interval = {times.ping_every}
node.conn[0].timeo.noop_out_timeout = {times.ping_timeout}
node.conn[0].timeo.login_timeout = 15
node.session.err_timeo.abort_timeout = {times.command_limit}
node.session.err_timeo.lu_reset_timeout = {times.lio_cmd_time_out}
node.session.queue_depth = {times.queue_depth}
"""


def udev_rule(times: Times) -> str:
    """/etc/udev/rules.d/99-tcmu-gluster.rules: the command timer, which Linux has at 30 s unless told."""
    return (
        f"# Gluster {times.gluster_ping_timeout} s < gateway {times.command_limit} s < LIO {times.lio_cmd_time_out} s "
        f"< this\n"
        f'ACTION=="add", SUBSYSTEM=="scsi", ATTR{{vendor}}=="{VENDOR} ", ATTR{{type}}=="0", '
        f'ATTR{{timeout}}="{times.command_timer}"\n'
    )


def esxi(times: Times) -> str:
    """Commands for an ESXi host. NoopOutTimeout is 10 to 30, RecoveryTimeout 1 to 120, APDTimeout 140 unless told."""
    return f"""\
# ESXi: paths that all are active share the load. ADAPTER is the software adapter (esxcli iscsi adapter list).
esxcli storage nmp satp rule add --satp=VMW_SATP_ALUA --psp=VMW_PSP_RR --vendor={VENDOR} --claim-option=tpgs_on \
--description="tcmu-gluster, with target port groups"
esxcli storage nmp satp rule add --satp=VMW_SATP_DEFAULT_AA --psp=VMW_PSP_RR --vendor={VENDOR} --claim-option=tpgs_off \
--description="tcmu-gluster"
esxcli iscsi adapter param set --adapter=ADAPTER --key=NoopOutInterval --value={times.ping_every}
esxcli iscsi adapter param set --adapter=ADAPTER --key=NoopOutTimeout --value={max(10, times.ping_timeout)}
esxcli iscsi adapter param set --adapter=ADAPTER --key=RecoveryTimeout --value={max(10, times.path_lost)}
# All paths down: a takeover by another gateway lasts up to {times.takeover} s.
esxcli system settings advanced set --option=/Misc/APDTimeout --int-value={max(140, 2 * times.takeover)}
"""


def windows(times: Times) -> str:
    """PowerShell for Windows Server; what is in the registry needs a restart."""
    disk = r"HKLM:\SYSTEM\CurrentControlSet\Services\Disk"
    initiator = r"HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4D36E97B-E325-11CE-BFC1-08002BE10318}"
    return f"""\
# Windows Server (PowerShell, as administrator); restart afterwards
Enable-WindowsOptionalFeature -Online -FeatureName MultiPathIO
Enable-MSDSMAutomaticClaim -BusType iSCSI
Set-MSDSMGlobalDefaultLoadBalancePolicy -Policy RR
Set-MPIOSetting -NewPathVerificationState Enabled -NewPDORemovePeriod {2 * times.takeover} \
-NewDiskTimeout {times.command_timer}
Set-ItemProperty -Path '{disk}' -Name TimeOutValue -Type DWord -Value {times.command_timer}
Get-ChildItem '{initiator}' -ErrorAction SilentlyContinue |
  Where-Object {{ $_.GetValue('DriverDesc') -eq 'Microsoft iSCSI Initiator' }} |
  ForEach-Object {{
    $at = Join-Path $_.PSPath 'Parameters'
    Set-ItemProperty -Path $at -Name EnableNOPOut -Type DWord -Value 1
    Set-ItemProperty -Path $at -Name LinkDownTime -Type DWord -Value {times.path_lost}
    # How long commands are kept while no session is there, on a host without MPIO
    Set-ItemProperty -Path $at -Name MaxRequestHoldTime -Type DWord -Value {times.session_lost}
  }}
"""


PARTS: Final[Mapping[str, Callable[[Times], str]]] = {
    "multipath.conf": multipath_conf,
    "iscsid.conf": iscsid_conf,
    "udev": udev_rule,
    "esxi": esxi,
    "windows": windows,
}


def run_initiator_config(options: argparse.Namespace) -> int:
    """Print one part, or all."""
    times = Times.of(load_settings().settings)
    names = [options.part] if options.part else list(PARTS)
    if options.json:
        print(as_json({"seconds": asdict(times), "files": {name: PARTS[name](times) for name in names}}))
        return 0
    print("\n".join(PARTS[name](times) for name in names), end="")
    return 0
