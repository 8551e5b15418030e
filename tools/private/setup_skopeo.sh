#!/usr/bin/env bash
# setup_skopeo.sh DIR: unpacks skopeo of a newer Debian release, and the programs that start it, into DIR/usr.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}
source "$here/cache.sh"
source "$here/debian.sh"

# Only for maintainer scripts, which do not run.
supplied=(adduser ca-certificates coreutils debconf dpkg openssl passwd perl perl-base)

umask 022
state=$1/apt
say "fetching skopeo of Debian $debian_suite"
newer_apt "$state" "$(dpkg --print-architecture)" "${supplied[@]}"
apt_in "$state" get --yes --download-only install bash skopeo
unpack_all "$state" "$1"
rm -r "$state"
