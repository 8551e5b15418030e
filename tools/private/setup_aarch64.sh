#!/usr/bin/env bash
# setup_aarch64.sh DIR: unpacks what it takes to build for aarch64 Linux, and to run the result, into DIR:
#
#   DIR/bin/rustc                          from a newer Debian release, with the standard libraries of both processors
#   DIR/bin/aarch64-linux-gnu-{gcc,ar,ld}  from the machine's own release, with a C library for aarch64
#   DIR/bin/qemu-aarch64                   qemu's user mode, also from the machine's own release
#
# The machine's own release has no rustc that is new enough. Its compiler, unlike that of another release, can start
# its parts (cc1, as, ld), which need the machine's C library. rustc has no such parts.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}
source "$here/cache.sh"
source "$here/debian.sh"

setup=$1
target=aarch64-unknown-linux-gnu
# The files' modes must not depend on the caller's umask.
umask 022
mkdir -p "$setup/bin"

# script NAME: makes the program DIR/bin/NAME from stdin.
script() {
  { echo '#!/bin/sh' && cat; } > "$setup/bin/$1"
  chmod +x "$setup/bin/$1"
}

# --- rustc --------------------------------------------------------------------------------------

unpack_rust() {
  local rust=$setup/rust state=$setup/apt-rust libraries
  "$here/debian_tree.sh" "$rust" rustc

  say "fetching Rust's standard library for aarch64"
  newer_apt "$state" arm64
  # Without its dependencies, since nothing executes it.
  (cd "$state/archives" && apt_in "$state" get download libstd-rust-dev)
  unpack_all "$state" "$rust"
  rm -r "$state"

  # Some libraries have a search path of their own, which hides rustc's. This one is for all of them.
  libraries=$rust/usr/lib/x86_64-linux-gnu
  script rustc << RUSTC
exec '$libraries/ld-linux-x86-64.so.2' --library-path '$libraries' '$rust/usr/bin/rustc' --sysroot '$rust/usr' "\$@"
RUSTC
}

# --- cross compiler and qemu --------------------------------------------------------------------

unpack_cross_compiler() {
  local cross=$setup/cross state=$setup/apt-cross qemu tool
  say "fetching the cross compiler for aarch64"
  machine_apt "$state" 'aarch64-linux-gnu|arm64-cross|qemu-user'
  # In newer releases, qemu-user is the static one.
  qemu=qemu-user-static
  apt_in "$state" cache show "$qemu" > /dev/null 2>&1 || qemu=qemu-user
  apt_in "$state" get --yes --download-only install gcc-aarch64-linux-gnu libc6-dev-arm64-cross "$qemu"
  unpack_all "$state" "$cross"
  rm -r "$state"

  for tool in gcc ar ld; do
    script "aarch64-linux-gnu-$tool" << TOOL
LD_LIBRARY_PATH='$cross/usr/lib/x86_64-linux-gnu' exec '$cross/usr/bin/aarch64-linux-gnu-$tool' "\$@"
TOOL
  done
  # In newer releases, scripts of the linker have the paths of installed packages.
  find "$cross/usr/aarch64-linux-gnu/lib" -type f -size -4k \( -name '*.a' -o -name '*.so' \) \
    -exec grep -q 'GNU ld script' {} \; -exec sed -i 's# /usr/aarch64-linux-gnu/lib/# #g' {} \;

  # 40 emulators.
  find "$cross/usr/bin" -name 'qemu-*' ! -name 'qemu-aarch64' ! -name 'qemu-aarch64-static' -delete
  for qemu in "$cross"/usr/bin/qemu-aarch64{-static,}; do
    [[ ! -f $qemu ]] || ln -sf "$qemu" "$setup/bin/qemu-aarch64"
  done
}

unpack_rust &
unpack_cross_compiler
wait $!

# --- check --------------------------------------------------------------------------------------

echo 'fn main() { println!("works") }' > "$setup/check.rs"
# Not its warnings: some functions of the standard library do not work in static programs.
"$setup/bin/rustc" "$setup/check.rs" -o "$setup/check" --target "$target" --cap-lints allow \
  -C target-feature=+crt-static -C linker="$setup/bin/aarch64-linux-gnu-gcc" ||
  die "the compiler for aarch64 does not work: see above"
[[ $("$setup/bin/qemu-aarch64" "$setup/check") == works ]] ||
  die "a program for aarch64 does not run in $(realpath "$setup/bin/qemu-aarch64")"
rm "$setup/check.rs" "$setup/check"
