#!/bin/bash
# The first process inside User Mode Linux: a node whose files lie on a disk of which every write is logged.
# The kernel's command line gives: dir= (the host's directory of this test), node=, python=, scripts=, modules=, marks=
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec </dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/mapper /dev/shm
mount -t tmpfs tmp /mnt
mkdir /mnt/host /mnt/disk
mount -t hostfs -o "$dir" host /mnt/host
exec >/mnt/host/uml.log 2>&1
end() { echo o >/proc/sysrq-trigger; sleep 60; }
fail() { echo "failed: $1"; end; }
for module in drivers/md/dm-mod drivers/md/dm-log-writes; do
  insmod "$modules/$(uname -r)/kernel/$module.ko"
done
dmsetup create logged --noudevsync --table "0 $(blockdev --getsz /dev/ubda) log-writes /dev/ubda /dev/ubdb" || fail dmsetup
dmsetup mknodes
mount /dev/mapper/logged /mnt/disk || fail mount
ip link set lo up
"$node" serve --config /mnt/host/uml.properties >/mnt/host/node.log 2>&1 &
process=$!
export PYTHONPATH=$scripts/../../harness/scripts PYTHONDONTWRITEBYTECODE=1
"$python" -u "$scripts/powercut.py" 127.0.0.1:9092 cut /mnt/host/history "$marks" || fail "the producer"
kill -9 $process
wait $process
umount /mnt/disk || fail umount
dmsetup remove --noudevsync logged || fail "dmsetup remove"
sync
echo done
end
