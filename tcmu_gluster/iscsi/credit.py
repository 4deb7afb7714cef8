"""Commands that may be outstanding, of one address and of all: each session's CmdSN window is paid for at its login.

MaxCmdSN never goes back (RFC 7143 4.2.2.1), so what a window has granted is lent until the session ends. A session gets
all it wants while there is plenty, else an eighth of what is left, so that those who come later can work too.
"""

from __future__ import annotations

from tcmu_gluster.iscsi.admission import group_of
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus

_SHARE_OF_REST = 8


class Credit:
    """limit: commands of all sessions; per_address: of those of one address."""

    def __init__(self, limit: int = 262144, per_address: int = 65536) -> None:
        self.limit, self.per_address = limit, per_address
        self.lent = 0
        self._by_address: dict[str, int] = {}

    def lend(self, address: str, wanted: int) -> int:
        """How many commands a new session may have outstanding: 1 to wanted. Raises LoginError(OUT_OF_RESOURCES)."""
        group = group_of(address)
        mine = self._by_address.get(group, 0)
        left = min(self.limit - self.lent, self.per_address - mine)
        if left < 1:
            whose = f"the sessions of {group}" if mine >= self.per_address else "all sessions"
            raise LoginError(
                LoginStatus.OUT_OF_RESOURCES, f"the windows of {whose} have as many commands as they may have together"
            )
        granted = min(wanted, max(1, left // _SHARE_OF_REST))
        self.lent += granted
        self._by_address[group] = mine + granted
        return granted

    def give_back(self, address: str, granted: int) -> None:
        """The session has ended."""
        group = group_of(address)
        self.lent -= granted
        self._by_address[group] = self._by_address.get(group, 0) - granted
        if not self._by_address[group]:
            del self._by_address[group]
