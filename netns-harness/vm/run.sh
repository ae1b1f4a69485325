#!/bin/bash
# Runs a command on a kernel that has WireGuard: on this host where its kernel has it, else in QEMU on
# Debian's own kernel, with the programs of a build directory at the paths they have here.
#
#   run.sh [--kernel 6.1|6.12] [--build DIR] [--with FILE]... [--env NAME=VALUE]... [--results DIR]
#          [--timeout SECONDS] [--memory MIB] [--cpus N] [--vm] -- COMMAND [ARGUMENT]...
#
# --build adds meshd, meshctl, mesh-lab and every *_test under DIR. What the command writes to
# /results comes back in --results. Exits with the command's code; 124 after the timeout, 125 when
# the machine did not run it to its end. --vm: in QEMU even where the host would do.
#
# The kernel's package and what is made of it are cached in ${XDG_CACHE_HOME:-~/.cache}/meshd/vm; a
# missing cache costs a download. Nothing is installed. QEMU dies with this script, whatever kills it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=6.1 build= results= timeout=1200 memory=4096 cpus=$(nproc) force_vm=false
with=() environment=() command=() machine= clock=

say() { echo "vm: $*" >&2; }
die() { say "$*"; exit 125; }

while (($#)); do
  case $1 in
    --kernel) kernel=$2; shift 2 ;;
    --build) build=$(readlink -f "$2"); shift 2 ;;
    --with) with+=("$(readlink -f "$2")"); shift 2 ;;
    --env) environment+=("$2"); shift 2 ;;
    --results) results=$2; shift 2 ;;
    --timeout) timeout=$2; shift 2 ;;
    --memory) memory=$2; shift 2 ;;
    --cpus) cpus=$2; shift 2 ;;
    --vm) force_vm=true; shift ;;
    --) shift; command=("$@"); break ;;
    *) die "unknown option $1; see the head of $0" ;;
  esac
done
((${#command[@]})) || die "no command; usage is at the head of $0"

case $kernel in
  6.1) package=linux-image-cloud-amd64 ;;
  6.12) package=linux-image-6.12-cloud-amd64 ;;
  *) die "--kernel $kernel: 6.1 and 6.12 are known" ;;
esac

host_has_wireguard() {
  [ "$(id -u)" = 0 ] && unshare --net ip link add probe type wireguard 2>/dev/null
}

run_here() {
  [ -z "$results" ] || mkdir -p "$results"
  exec env "${environment[@]}" MESHD_LAB_RESULTS="${results:-/tmp}" "${command[@]}"
}

if ! $force_vm && [ "$kernel" = 6.1 ] && host_has_wireguard; then run_here; fi

for tool in qemu-system-x86_64 busybox wg ip nft ping tc bash strip; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || die "$tool is missing; install it"
done
export PATH=$PATH:/usr/sbin:/sbin

cache=${XDG_CACHE_HOME:-$HOME/.cache}/meshd/vm
for left in "${TMPDIR:-/tmp}"/meshd-vm.*; do # what a killed run left
  owner=${left##*/meshd-vm.} owner=${owner%%.*}
  if [ -d "$left" ] && [ ! -e "/proc/$owner" ]; then rm -rf "$left"; fi
done
work=$(mktemp -d "${TMPDIR:-/tmp}/meshd-vm.$$.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# --- the kernel -----------------------------------------------------------------------------------

# The package of the kernel itself; the one named above only depends on it.
kernel_package() {
  apt-cache depends "$package" 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\)$/\1/p' | head -1
}

fetch_kernel() {
  local name version folder
  name=$(kernel_package)
  if [ -z "$name" ] && [ "$(id -u)" = 0 ]; then
    apt-get update -q >&2
    name=$(kernel_package)
  fi
  if [ -z "$name" ]; then
    # No package index, but a kernel fetched before: good enough, and said.
    kernel_dir=$(ls -d "$cache"/linux-image-"$kernel".* 2>/dev/null | sort -V | tail -1)
    [ -n "$kernel_dir" ] || die "no package index knows $package: run apt-get update"
    say "no package index: using the cached $(basename "$kernel_dir")"
    return
  fi
  version=$(apt-cache policy "$name" | sed -n 's/^ *Candidate: *//p')
  kernel_dir=$cache/${name}_$version
  [ -e "$kernel_dir/complete" ] && return
  say "fetching $name $version"
  folder=$work/package
  mkdir -p "$folder" "$cache"
  (cd "$folder" && apt-get download -q -o APT::Sandbox::User=root "$name" >&2) || die "cannot download $name"
  dpkg -x "$folder"/*.deb "$folder/files"
  rm -f "$folder"/*.deb
  pack_modules "$folder/files"
  cp "$folder"/files/boot/vmlinuz-* "$folder/pack/vmlinuz"
  touch "$folder/pack/complete"
  # Another run may have been faster; either result is as good.
  mv -T "$folder/pack" "$kernel_dir" 2>/dev/null || [ -e "$kernel_dir/complete" ]
}

# The modules a mesh or a fault may need; those this kernel does not have, or has built in, are
# left out. Never br_netfilter: it would send bridged frames through the nodes' firewalls.
modules="wireguard veth bridge dummy tun 8021q vxlan ipip ip6_tunnel sit ip_gre ifb macvlan
  sch_netem sch_ingress sch_tbf sch_fq_codel act_mirred act_gact cls_u32 cls_matchall
  nf_tables nfnetlink nf_conntrack nf_conntrack_netlink nf_nat nft_chain_nat nft_ct nft_masq nft_nat
  nft_redir nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_numgen nft_hash nft_limit nft_log
  nft_quota nft_counter nft_objref nft_reject nft_reject_inet nft_reject_ipv4 nft_reject_ipv6
  nft_socket nft_tproxy nft_xfrm nft_dup_netdev nft_fwd_netdev nft_meta_bridge nft_reject_bridge
  nft_connlimit nft_compat inet_diag tcp_diag udp_diag af_packet_diag netlink_diag"

pack_modules() { # FILES: $folder/pack/modules.cpio from an unpacked package
  local files=$1 release root module
  release=$(basename "$files"/lib/modules/*)
  root=$work/modules
  mkdir -p "$root/modules" "$folder/pack"
  depmod -b "$files" "$release"
  : >"$root/modules/order"
  for module in $modules; do
    modprobe -d "$files" -S "$release" --show-depends "$module" 2>/dev/null || true
  done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$root/modules/"
    basename "$file" >>"$root/modules/order"
  done
  [ -s "$root/modules/order" ] || die "no modules found in $name"
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$folder/pack/modules.cpio"
}

# --- what runs in it ------------------------------------------------------------------------------

root=$work/root

add_file() { # at the path it has here; without debug information, which only costs boot time
  local file=$1
  [ -e "$root$file" ] && return
  mkdir -p "$root$(dirname "$file")"
  strip -g -o "$root$file" "$file" 2>/dev/null || cp -L "$file" "$root$file"
  chmod --reference="$file" "$root$file"
}

add_program() { # and the shared libraries it needs
  add_file "$1"
  # (A static program has none, and makes ldd fail.)
  { ldd "$1" 2>/dev/null || true; } | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\s*\(\/[^ ]*\) (.*/\1/p' |
    while read -r library; do add_file "$library"; done
}

stage() {
  local tool file
  mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,run,tmp,etc,root,results,var,bb}
  for file in bin sbin lib lib64; do ln -s "usr/$file" "$root/$file"; done
  ln -s /run "$root/var/run"
  cp "$here/init" "$root/init"
  for tool in busybox bash sh wg ip nft ping tc ss; do
    file=$(command -v "$tool") && add_program "$(readlink -f "$file")"
    # Under its own name too, where that is a link to another.
    [ -e "$root$file" ] || ln -s "$(readlink -f "$file")" "$root$file"
  done
  for tool in wireguard-go tcpdump conntrack setpriv; do # where the host has them
    file=$(command -v "$tool") && add_program "$(readlink -f "$file")" || true
  done
  for file in /etc/protocols /etc/services /etc/iproute2; do
    [ -e "$file" ] && cp -rL "$file" "$root/etc/" || true
  done
  echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
  if [ -n "$build" ]; then
    for file in "$build"/meshd/daemon/meshd "$build"/meshd/ctl/meshctl \
      "$build"/netns-harness/mesh-lab "$build"/tests/*/*_test; do
      if [ -x "$file" ]; then with+=("$file"); fi
    done
  fi
  for file in "${with[@]}"; do
    if [ -d "$file" ]; then
      mkdir -p "$root$(dirname "$file")" && cp -rL "$file" "$root$(dirname "$file")/"
    else
      add_program "$file"
    fi
  done
  {
    echo 'export MESHD_LAB_RESULTS=/results'
    echo 'export MESHD_LAB_OWN_MACHINE=1'  # its clock may be set
    for file in "${environment[@]}"; do printf 'export %q\n' "$file"; done
    printf 'cd %q 2>/dev/null\n' "$PWD"
    printf '%q ' "${command[@]}"
    echo
  } >"$root/command"
}

# --- the machine ----------------------------------------------------------------------------------

boot() {
  local accel="tcg,thread=multi" patience=8 code
  local kernel_options="console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on no_timer_check"
  local machine_options=(-cpu max -smp "$cpus" -m "$memory" -nodefaults -no-user-config -display none
    -monitor none -no-reboot)
  if kvm_works; then accel=kvm patience=2; fi
  sed -i "1i export MESHD_LAB_PATIENCE=\${MESHD_LAB_PATIENCE:-$patience}" "$root/command"
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/root.cpio"
  cat "$kernel_dir/modules.cpio" "$work/root.cpio" >"$work/initrd"
  rm -rf "$root" "$work/root.cpio"
  say "booting $(basename "$kernel_dir") ($accel, $(($(stat -c %s "$work/initrd") >> 20)) MiB)"
  setpriv --pdeathsig KILL qemu-system-x86_64 -accel "$accel" "${machine_options[@]}" \
    -serial stdio -serial "file:$work/results.tar" \
    -kernel "$kernel_dir/vmlinuz" -initrd "$work/initrd" -append "$kernel_options" </dev/null &
  machine=$!
  setpriv --pdeathsig KILL sleep "$timeout" &
  clock=$!
  trap 'kill -KILL $machine $clock 2>/dev/null || true; rm -rf "$work"' EXIT
  wait -n "$machine" "$clock" 2>/dev/null || true
  if kill -0 "$machine" 2>/dev/null; then
    say "no end after $timeout s: stopped"
    return 124
  fi
  disown "$clock" # bash would report its end
  kill -KILL "$clock" 2>/dev/null || true
  mkdir -p "${results:=$work/results}"
  tar -xf "$work/results.tar" -C "$results" --no-same-owner 2>/dev/null || true
  code=$(cat "$results/exit_code" 2>/dev/null) || die "the machine ended before the command did"
  rm -f "$results/exit_code"
  return "$code"
}

# /dev/kvm may exist without working: a machine that only says a word and ends must do so.
kvm_works() {
  local probe=$work/probe
  [ -w /dev/kvm ] || return 1
  mkdir -p "$probe/dev"
  cp "$(command -v busybox)" "$probe/busybox"
  printf '#!/busybox sh\n/busybox mount -t devtmpfs d /dev\necho alive >/dev/ttyS0\n/busybox poweroff -f\n' \
    >"$probe/init"
  chmod +x "$probe/init"
  (cd "$probe" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/probe.cpio"
  timeout 10 qemu-system-x86_64 -accel kvm "${machine_options[@]}" -serial stdio \
    -kernel "$kernel_dir/vmlinuz" -initrd "$work/probe.cpio" -append "$kernel_options" \
    </dev/null 2>/dev/null | grep -q alive
}

fetch_kernel
stage
boot
