#!/bin/sh
# Prints what the decisions in vars/main.yml need to know of a host, one "name value" a line. Changes nothing.
# look.sh WAL_DIR METADATA_DIR CLOCK      CLOCK: seconds since 1970 on the control host
set -eu

# The nearest directory that is there already: wal.dir may be made later.
existing=$1
until [ -d "$existing" ]; do existing=$(dirname "$existing"); done
file_system=$(df --block-size=1 --output=fstype,avail,target "$existing" | tail -n 1)

echo "kernel $(uname -r)"
# The switch came with Linux 6.6.
echo "io_uring_disabled $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)"
echo "init $(cat /proc/1/comm)"
echo "distribution $(. /etc/os-release && echo "$ID")"
echo "version $(. /etc/os-release && echo "${VERSION_ID:-0}")"
echo "wal_exists $([ -e "$1/disk.id" ] && echo yes || echo no)"
echo "metadata_exists $([ -e "$2/log" ] && echo yes || echo no)"
echo "wal_fstype $(echo "$file_system" | awk '{ print $1 }')"
echo "wal_free $(echo "$file_system" | awk '{ print $2 }')"
echo "wal_mount $(echo "$file_system" | awk '{ print $3 }')"
echo "state $(systemctl show --property=ActiveState --value aquifer.service)"
echo "listening $(ss --listening --tcp --numeric --no-header | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -un | tr '\n' ' ')"
echo "first_ephemeral $(awk '{ print $1 }' /proc/sys/net/ipv4/ip_local_port_range)"
echo "clock_ahead $(($(date +%s) - $3))"
echo "clock_synchronised $(timedatectl show --property=NTPSynchronized --value 2>/dev/null || echo unknown)"
# What a unit asks for and what it gets differ in containers, and `systemctl show` prints the former.
systemd-run --quiet --wait --pipe --collect --property=LimitNOFILE=1048576 --property=LimitMEMLOCK=infinity \
  cat /proc/self/limits |
  awk '/^Max open files/ { print "open_files", $4 } /^Max locked memory/ { print "locked_memory", $4 }'
