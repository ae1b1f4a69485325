#!/bin/bash
# guard_unit_test.sh UNIT: under a real systemd, in namespaces of its own, the guard's unit runs again
# whenever the firewall that flushed its table starts, restarts or reloads.
# Exit code 77: not tested, because something it needs is not there.
set -euo pipefail

skip() {
  echo "SKIPPED: $*: that the guard follows the firewall was NOT tested" >&2
  exit 77
}

readonly systemd=/lib/systemd/systemd
unit=${1:?usage: guard_unit_test.sh UNIT}

# --- inside: systemd's place, and then systemd itself as the first process there ---------------------

boot() {
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs "$work"
  mkdir "$work"/{upper,overlay}
  mount -t overlay overlay -o "lowerdir=/etc,upperdir=$work/upper,workdir=$work/overlay" /etc
  rm -rf /etc/systemd/system
  mkdir -p /etc/systemd/system /etc/meshd /var/lib/meshd
  touch /etc/meshd/meshd.yaml
  printf '[Unit]\nDescription=nothing but what is asked for\nDefaultDependencies=no\n' \
    >/etc/systemd/system/idle.target
  # Debian's nftables.service, with nothing to do; and a service that is no firewall.
  local service
  for service in nftables other; do
    printf '%s\n' '[Unit]' 'DefaultDependencies=no' 'Before=network-pre.target' '[Service]' 'Type=oneshot' \
      'RemainAfterExit=yes' 'ExecStart=/bin/true' 'ExecReload=/bin/true' 'ExecStop=/bin/true' \
      >"/etc/systemd/system/$service.service"
  done
  cp /proc/self/fd/3 /etc/systemd/system/meshd-guard.service
  systemctl --quiet enable meshd-guard.service
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  export container=other
  exec "$systemd" --system --unit=idle.target --log-target=console --log-level=warning </dev/null 3<&-
}

if [ "${2:-}" = boot ]; then
  work=$3
  boot
fi

# --- outside ----------------------------------------------------------------------------------------

[ -x "$systemd" ] || skip "no systemd (Debian package systemd)"
[ "$(id -u)" = 0 ] || skip "not root"
work=$(mktemp -d)
copy=$(mktemp)
trap 'rm -rf "$copy"; rmdir "$work"' EXIT
sed 's|^\(Exec[A-Za-z]*\)=[^ ]*/meshd |\1=/bin/true |' "$unit" >"$copy"

# Whatever kills this script, its systemd goes too, and with it all that it started.
setpriv --pdeathsig KILL unshare --pid --mount --net --uts --cgroup --fork --kill-child --mount-proc \
  bash "$0" "$unit" boot "$work" 3<"$copy" >"$copy.log" 2>&1 &
outer=$!
trap 'kill -KILL "$outer" 2>/dev/null || true; wait "$outer" 2>/dev/null || true; rm -f "$copy" "$copy.log"; rmdir "$work"' EXIT

inside() { nsenter --target "$init" --pid --mount --net --uts --cgroup -- timeout 30 "$@"; }

# until_true SECONDS COMMAND…
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

up() {
  init=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) && init=${init%% *} && [ -n "$init" ] &&
    inside systemctl is-active --quiet idle.target 2>/dev/null
}
until_true 20 up || {
  cat "$copy.log" >&2
  skip "systemd does not come up in namespaces here"
}

# What changes with each run of the unit, whether as a start or as a reload.
runs() { inside systemctl show meshd-guard.service --property InvocationID --property ExecReload; }
ran_again() { [ "$(runs)" != "$before" ] && inside systemctl is-active --quiet meshd-guard.service; }

guard_follows() { # VERB
  before=$(runs)
  inside systemctl "$1" nftables.service
  until_true 10 ran_again || {
    echo "the guard did not run again after: systemctl $1 nftables" >&2
    inside systemctl status --no-pager meshd-guard.service nftables.service >&2 || true
    exit 1
  }
  echo "systemctl $1 nftables: the guard ran again"
}

guard_follows start
guard_follows restart
guard_follows reload
inside systemctl stop nftables.service
guard_follows start
# And not for nothing.
before=$(runs)
inside systemctl restart other.service
if ran_again; then
  echo "the guard ran again after another service's restart" >&2
  exit 1
fi
