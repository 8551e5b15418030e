#!/usr/bin/env bash
# setup_stargz.sh DIR: builds stargz.go as DIR/stargz, with Go and stargz-snapshotter of Debian 12.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}
source "$here/cache.sh"
# Other releases have other versions, which nobody has tried.
PYLAYER_DEBIAN_SUITE=bookworm
source "$here/debian.sh"

# What a compiler without cgo does not need.
supplied=(
  adduser ca-certificates coreutils debconf dpkg g++ gcc libc-dev libc6-dev openssl passwd perl perl:any perl-base
  pkg-config
)

umask 022
state=$1/apt
say "fetching Go and stargz-snapshotter of Debian $debian_suite"
newer_apt "$state" "$(dpkg --print-architecture)" "${supplied[@]}"
apt_in "$state" get --yes --download-only install golang-go golang-github-containerd-stargz-snapshotter-dev
unpack_all "$state" "$1"

say "building stargz"
GOROOT=$(echo "$1"/usr/lib/go-*)
# The sources are elsewhere, and linked by absolute paths.
find "$GOROOT" -type l -delete
cp -R "$1"/usr/share/go-*/. "$GOROOT"
# Debian's packages are not modules.
export GOROOT GOPATH=$1/usr/share/gocode GOCACHE=$1/cache GO111MODULE=off GOFLAGS='' CGO_ENABLED=0
"$GOROOT/bin/go" build -o "$1/stargz" "$here/stargz.go"
find "$1" -mindepth 1 -maxdepth 1 ! -name stargz -exec rm -rf {} +
