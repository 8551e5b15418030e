#!/usr/bin/env bash
# setup_bazel.sh DIR: installs Debian's Bazel in DIR/root, and its configuration in DIR/bazelrc.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}

# The files' modes must not depend on the caller's umask.
umask 022

packages=(
  bazel-bootstrap
  default-jre-headless # Bazel's server needs only the JRE
  libblake3-0          # a missing dependency; without it, file access is slow and fails for non-ASCII names
)
"$here/debian_tree.sh" "$1/root" "${packages[@]}"
python3 "$here/configure_bazel.py" "$1"
