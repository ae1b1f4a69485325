#!/bin/bash
# Builds kube-apiserver from Debian's source package "kubernetes", once, and prints the binary's path.
#
#   build-apiserver.sh           builds it unless it is there; some minutes on two cores
#   build-apiserver.sh --path    only says where it is; fails where it is not
#
# Debian ships the client and not the server. The binary is kept in
# ${XDG_CACHE_HOME:-~/.cache}/meshd/kubernetes, outside the checkout; a missing cache costs the build.
# The machine's own apt sources are read and not changed: the source index is fetched into a folder of
# its own. Two of these at a time: the second waits. On failure the last line says what is missing; the
# code is 3 where this machine has nothing to build it from, 1 where the build itself failed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../prepare.sh"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/meshd/kubernetes
binary=$cache/kube-apiserver
recipe=2 # counts up when what is built changes
die() { echo "kube-apiserver was not built: $*" >&2; exit "${code:-1}"; }

built() { [ -x "$binary" ] && [ "$(cat "$cache/recipe" 2>/dev/null)" = "$recipe" ]; }

if [ "${1:-}" = --path ]; then
  built || die "$binary is not there; run $0"
  echo "$binary"
  exit 0
fi
[ $# = 0 ] || die "unknown option $1; see the head of $0"

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if built; then
  echo "$binary"
  exit 0
fi

need golang-go dpkg-dev rsync jq make >&2 || code=3 die "its build needs golang-go, dpkg-dev, rsync, jq and make"
work=$(mktemp -d "${TMPDIR:-/tmp}/meshd-apiserver.XXXXXX")
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT # Go makes its module folders read-only
trap 'exit 130' INT TERM HUP

# The machine's own package sources, asked for source packages too.
private_sources() {
  local file
  mkdir -p "$work/apt/parts" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    if [ -s "$file" ]; then
      sed -n 's/^deb[[:space:]]\(.*\)/deb \1\ndeb-src \1/p' "$file" >"$work/apt/parts/${file##*/}.list"
    fi
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    if [ -s "$file" ]; then
      sed 's/^Types:.*/Types: deb deb-src/' "$file" >"$work/apt/parts/${file##*/}"
    fi
  done
}

private_apt() {
  apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/apt/parts" \
    -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@"
}

say "building kube-apiserver in the background of everything else; this is done once" >&2
private_sources
{
  private_apt update
  cd "$work" && private_apt source kubernetes
  # Its own copy of this library reads maps wrongly under Go 1.18 and later: the server crashes at the
  # first custom resource.
  private_apt download golang-github-modern-go-reflect2-dev
  dpkg -x golang-github-modern-go-reflect2-dev_*.deb library
} >"$cache/log" 2>&1 || code=3 die "apt has no source package kubernetes; see $cache/log"

# Only the server, without cgo and without debugging symbols, so that it links in little memory.
# The build takes the tree for its own only under this name in a GOPATH.
tree=$(find "$work" -maxdepth 1 -type d -name 'kubernetes-*')
cd "$tree"
rm -rf vendor/github.com/modern-go/reflect2
cp -r ../library/usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
mkdir -p .go/src/k8s.io
ln -s ../../.. .go/src/k8s.io/kubernetes
GOPATH=$PWD/.go GO111MODULE=off GOFLAGS=-p=2 GOTOOLCHAIN=local CGO_ENABLED=0 HOME=$work GOLDFLAGS='-s -w' \
  nice -n 19 make WHAT=cmd/kube-apiserver >>"$cache/log" 2>&1 || die "its build failed; see $cache/log"

cp _output/local/bin/*/*/kube-apiserver "$binary.new"
"$binary.new" --version >&2 || die "what was built does not run; see $cache/log"
mv "$binary.new" "$binary"
echo "$recipe" >"$cache/recipe"
echo "$binary"
