#!/bin/bash
# The guest's first process: makes a bare system out of the host's root (of which only a throw-away layer is written),
# runs the scenarios, says goodbye and switches the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
dmesg -n 1 # LIO logs a line for each refused command, and the serial console is slow
mkdir -p /dev/pts /dev/shm /run /tmp
ln -sfn /proc/self/fd /dev/fd # bash's and others' /dev/fd/N
for n in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${n%%:*}" "/dev/${n#*:}"; done
mount -t devpts devpts /dev/pts
for d in /dev/shm /run; do mount -t tmpfs tmpfs "$d"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /run/dbus

# No state of the host may reach the scenarios.  /etc/target must be there before target_core_mod looks for it.
for d in /etc/target /etc/rtslib-fb-target /var/target /etc/tcmu-gluster /etc/iscsi/nodes /etc/iscsi/send_targets \
    /var/lib/iscsi /var/log/glusterfs /var/run/gluster /etc/multipath /var/lib/tcmu-gluster; do
    mkdir -p "$d" && mount -t tmpfs tmpfs "$d"
done
find /var/lib/glusterd -mindepth 1 -maxdepth 1 ! -name groups ! -name hooks -exec rm -rf {} + 2>/dev/null
mkdir -p /var/log/glusterfs/bricks
hostname vm
printf '127.0.0.1 localhost\n127.0.0.1 vm\n' >/etc/hosts
ip link set lo up

checkout=$(cat /io/checkout)
cd "$checkout" || exit
.venv/bin/python -m tests.system.kernel.guest.runner /io >/io/runner.txt 2>&1
dmesg >/io/dmesg.txt
sync -f /io
if [ -e /io/reboot ]; then # a scenario asked for it; the runner then goes on where it was
    rm /io/reboot
    echo b >/proc/sysrq-trigger
fi
echo o >/proc/sysrq-trigger
/bin/busybox sleep 60
