#!/bin/sh
# Process 1 of a test server: makes its root out of the base, then starts its services.
# Runs in fresh mount, pid, net, uts, ipc and cgroup namespaces; whatever it makes goes with them.
#   in   BASE (read-only root folder)  SPACE (an empty folder to mount on)  NAME  ADDRESS  GATEWAY
#   out  the line "vps-ready" when sshd, php-fpm, nginx, MariaDB and cron run
set -eu

mount --make-rprivate /
# Memory, so that no crash leaves files behind.
mount -t tmpfs -o mode=755 tmpfs "$SPACE"
mkdir "$SPACE/upper" "$SPACE/work" "$SPACE/root"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$SPACE/upper,workdir=$SPACE/work" "$SPACE/root"
cd "$SPACE/root"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
  : > "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${stream%%:*}" "dev/${stream#*:}"; done
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock run/sshd
install -d -m 755 run/php run/mysqld

hostname "$NAME"
echo "$NAME" > etc/hostname
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NAME" > etc/hosts
rm -f etc/resolv.conf
echo "nameserver $GATEWAY" > etc/resolv.conf

# The starter moves our end of the link in; it may not be there yet.
tries=0
until ip link show eth0 > /dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 500 ] || { echo "the network link never came"; exit 1; }
  sleep 0.01
done
ip link set lo up
ip addr add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"

mkdir .host
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

chown mysql: /run/mysqld
ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key
for service in ssh nginx cron /etc/init.d/php*-fpm; do
  service "${service##*/}" start > /dev/null || echo "$service did not start"
done
service mariadb start > /dev/null || echo "mariadb did not start"
mariadb-admin ping > /dev/null && echo vps-ready

# Reaps what daemons leave; ends only by being killed.
exec /bin/bash -c 'while :; do sleep 3600 & wait $!; done'
