#!/usr/bin/env bash
# setup_bazel.sh DIR: puts Debian's Bazel in DIR/root and its configuration in DIR/bazelrc.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}

# The unpacked files are as in the packages, whatever the caller's umask.
umask 022

packages=(
  bazel-bootstrap
  default-jre-headless # Bazel's server needs no more than the JRE
  libblake3-0          # the package forgets it; without it file access is slow and fails on non-ASCII names
)
"$here/debian_tree.sh" "$1/root" "${packages[@]}"
python3 "$here/configure_bazel.py" "$1"
