"""The iSCSI target engine: RFC 7143 without sockets, threads or clocks."""
