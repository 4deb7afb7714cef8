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
    ssh -q -F "$config" -o ConnectTimeout=60 -o ServerAliveInterval=15 "$machine" "sudo bash -euo pipefail -c $(printf %q "$*")"
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

# A file system with a file of 8 MiB on a disk of the client, written, unmounted, mounted again and compared.
use_disk() {
    on client "mkfs.ext4 -q -F $1; mkdir -p /mnt/disk; mount $1 /mnt/disk; \
        head -c 8M /dev/urandom >/tmp/data; cp /tmp/data /mnt/disk/data; umount /mnt/disk; \
        mount $1 /mnt/disk; cmp /tmp/data /mnt/disk/data; umount /mnt/disk"
}
