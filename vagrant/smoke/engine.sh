# The engine's target with one disk, for stories: engine_up SIZE, engine_down. Where there is a gateway without LIO, it
# serves; else it is the same daemon that LIO's disks have.
unit=tcmu-gluster
if has gateway2; then gateway=gateway2 address=192.168.57.22 second_address=192.168.58.22 unit=tcmu-gluster-engine; fi

engine_up() {
    on $gateway "tcmu-gluster disk create smoke $volume/smoke --size $1 --front engine; tcmu-gluster target create $iqn; \
        tcmu-gluster portal remove $iqn 0.0.0.0; tcmu-gluster portal add $iqn $address; tcmu-gluster portal add $iqn $second_address; \
        tcmu-gluster lun map $iqn smoke; tcmu-gluster acl allow $iqn $initiator" >/dev/null
    trap engine_down EXIT
}

engine_down() {
    # multipathd remembers the disk's identity (-W forgets it): it would take the next story's single path, too.
    on client "multipath -F; iscsiadm -m node -T $iqn --logout; iscsiadm -m node -T $iqn -o delete; multipath -W; true" >/dev/null 2>&1 || true
    on $gateway "tcmu-gluster target delete $iqn; tcmu-gluster disk delete smoke" >/dev/null || true
    trap - EXIT
}
