# Sourced by netns-harness/demo.sh and tests/run.sh: installs what a fresh Debian 12 lacks, builds.
# shellcheck shell=bash

root_of_checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin

build_packages="g++ cmake make ninja-build pkg-config libmnl-dev libnl-3-dev libnl-route-3-dev libnftnl-dev
  libnftables-dev libsodium-dev libyaml-cpp-dev libspdlog-dev libfmt-dev libsystemd-dev nlohmann-json3-dev libcli11-dev
  prometheus-cpp-dev libcpp-httplib-dev libcurl4-openssl-dev libgrpc++-dev libprotobuf-dev protobuf-compiler
  protobuf-compiler-grpc libgtest-dev libgmock-dev libbenchmark-dev"
lab_packages="iproute2 nftables wireguard-tools wireguard-go iputils-ping procps util-linux kmod"
store_packages="etcd-server etcd-client openssl openssh-server openssh-client"
api_server_packages="golang-go dpkg-dev rsync jq make"
vm_packages="qemu-system-x86 busybox-static kmod binutils"
check_packages="clang-format-14 systemd"
full_packages="clang-14 clang-tidy-14 libclang-rt-14-dev"

say() { echo "==> $*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "root is needed for: $* — run as root, or install sudo" >&2
    return 1
  fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need PACKAGE…: installs those that are missing, and nothing that is only recommended.
need() {
  local package missing=()
  for package; do installed "$package" || missing+=("$package"); done
  ((${#missing[@]})) || return 0
  say "installing: ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# build PRESET [TARGET…]: configures build/PRESET inside the checkout and builds it. ccache is used
# where it is installed; its directory is its own, outside the checkout.
build() {
  local preset=$1
  shift
  say "building (preset $preset)"
  cmake -S "$root_of_checkout" --preset "$preset" >/dev/null
  cmake --build "$root_of_checkout/build/$preset" --parallel "$(nproc)" ${@:+--target "$@"}
}
