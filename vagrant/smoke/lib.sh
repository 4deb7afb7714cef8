# What the stories share. A story is typed on the host: `on MACHINE COMMAND` runs a line there.
#
# MACHINES as in the Vagrantfile: without gateway1 its part is played by server1. Every story begins and ends with nothing served.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=${TCMU_GLUSTER_SSH_CONFIG:-.vagrant/ssh-config}
[ -s "$config" ] || { mkdir -p .vagrant && vagrant ssh-config >"$config"; }

on() {
    local machine=$1
    shift
    # One connection for all lines: a handshake takes seconds in an emulated processor.
    ssh -q -F "$config" -o ControlMaster=auto -o ControlPath=.vagrant/%n -o ControlPersist=60 -o ConnectTimeout=60 -o ServerAliveInterval=15 "$machine" "sudo bash -euo pipefail -c $(printf %q "$*")"
}

has() { grep -q "^Host $1\$" "$config"; }

if has gateway1; then gateway=gateway1 address=192.168.57.21 second_address=192.168.58.21; else
    gateway=server1 address=192.168.57.11 second_address=192.168.58.11
fi
server_address=192.168.57.11
iqn=iqn.2024-01.org.example:smoke
initiator=iqn.2024-01.org.example:client
volume=gluster://server1/block

step() { printf '%6s s  %s\n' "$((SECONDS - started))" "$*"; }
started=$SECONDS

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# The client's disk with this session's target: /dev/sdX, once it is there.
the_disk() { on client "for i in \$(seq 60); do d=\$(ls /dev/disk/by-path/*$1*-lun-0 2>/dev/null | head -n 1 || true); [ -n \"\$d\" ] && { readlink -f \$d; exit 0; }; sleep 1; done; exit 1"; }

log_in() { # log_in ADDRESS IQN
    on client "iscsiadm -m discovery -t sendtargets -p $1 >/dev/null; iscsiadm -m node -T $2 -p $1 --login >/dev/null"
}

log_out() { on client "iscsiadm -m node -T $1 --logout >/dev/null; iscsiadm -m node -T $1 -o delete >/dev/null"; }

# Verified random writes on a disk of the client, in the background: start_load DEVICE SECONDS; end_load waits for their
# end, fails if there was an error or a wrong block, and prints the longest operation.
start_load() {
    on client "rm -f /tmp/fio.json; systemd-run -q --collect --unit=smoke-fio -p WorkingDirectory=/tmp fio --name=load --filename=$1 \
        --rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --direct=1 --size=32M --time_based --runtime=$2 \
        --verify=crc32c --verify_backlog=64 --verify_fatal=1 --output-format=json --output=/tmp/fio.json"
    on client 'for i in $(seq 60); do pgrep -x fio >/dev/null && exit 0; sleep 1; done; exit 1'
}

end_load() {
    on client 'while systemctl -q is-active smoke-fio; do sleep 1; done; python3 - /tmp/fio.json' <<'REPORT'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]
writes, reads = job["write"], job["read"]
assert job["error"] == 0, f"fio: error {job['error']}"
assert writes["total_ios"] and reads["total_ios"], "fio did nothing"
longest = max(part["clat_ns"]["max"] for part in (writes, reads)) / 1e9
print(f"{writes['total_ios']} writes, {reads['total_ios']} verified, no error; the longest took {longest:.1f} s")
REPORT
}

# The daemon's command as a service of one story: start_export MACHINE ARGUMENT..., stop_export MACHINE.
start_export() {
    local machine=$1
    shift
    on "$machine" "systemctl reset-failed smoke-export 2>/dev/null || true; systemd-run -q --unit=smoke-export tcmu-gluster export $*"
    on "$machine" 'for i in $(seq 90); do [ -n "$(ss -Hltn "sport = :3260")" ] && exit 0; systemctl -q is-active smoke-export || break; sleep 1; done
        journalctl -n 20 --no-pager -u smoke-export >&2; exit 1'
}

stop_export() { # a status other than 0 (something acknowledged may be lost) leaves the unit "failed"
    on "$1" 'systemctl stop smoke-export; ! systemctl -q is-failed smoke-export'
}

# A file of the volume and its lease, deleted.
delete_file() {
    on client "mkdir -p /mnt/volume; mount -t glusterfs server1:/block /mnt/volume; rm -f /mnt/volume/$1 /mnt/volume/.$1.*; umount /mnt/volume"
}

# A file system with a file of 8 MiB on a disk of the client, written, unmounted, mounted again and compared.
use_disk() {
    on client "mkfs.ext4 -q -F $1; mkdir -p /mnt/disk; mount $1 /mnt/disk; \
        head -c 8M /dev/urandom >/tmp/data; cp /tmp/data /mnt/disk/data; umount /mnt/disk; \
        mount $1 /mnt/disk; cmp /tmp/data /mnt/disk/data; umount /mnt/disk"
}
