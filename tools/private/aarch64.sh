#!/usr/bin/env bash
# Builds for aarch64 Linux, without root. To be sourced, in a subshell, because the variables also affect builds for
# this machine:
#
#   (source tools/private/aarch64.sh && use_aarch64 &&
#     cargo build --release --locked --target aarch64-unknown-linux-gnu)
#
# Other programs run this file: it prints the variables, one NAME=value per line.
#
# use_aarch64 exports what cargo and crates/launcher/build need to build for aarch64-unknown-linux-gnu: RUSTC,
# CC_aarch64_unknown_linux_gnu, AR_aarch64_unknown_linux_gnu, CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER and LINKER.
# QEMU_AARCH64 is the path of an emulator that runs the results, and empty on an aarch64 machine, which needs nothing
# of this. The tools are the first of these:
#
#   1. those of the machine: a rustc with the standard library for aarch64, an aarch64-linux-gnu-gcc, and a qemu-aarch64
#      or qemu-aarch64-static, each by itself;
#   2. packages of Debian, which are unpacked once into ${XDG_CACHE_HOME:-~/.cache}/pylayer.
#
# RUSTFLAGS must not be set: it would replace the flags in .cargo/config.toml, with which the program is static.

aarch64_private=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=cache.sh
source "$aarch64_private/cache.sh"

use_aarch64() {
  local target=aarch64-unknown-linux-gnu setup rust gcc
  QEMU_AARCH64=
  export QEMU_AARCH64
  case $(uname -sm) in
    'Linux aarch64') return ;;
    'Linux x86_64') ;;
    *)
      say "cannot build for aarch64 Linux here: this takes Linux on x86_64 or aarch64"
      return 1
      ;;
  esac

  rust=$(compgen -G "$("${RUSTC:-rustc}" --print target-libdir --target "$target")/libstd-*.rlib" || true)
  gcc=$(type -P aarch64-linux-gnu-gcc || true)
  QEMU_AARCH64=$(type -P qemu-aarch64 || type -P qemu-aarch64-static || true)
  if [[ -z $rust || -z $gcc || -z $QEMU_AARCH64 ]]; then
    setup=$(cache_dir aarch64 "$aarch64_private"/{setup_aarch64,debian_tree,debian}.sh) &&
      make_once "$setup" "$aarch64_private/setup_aarch64.sh" || {
      say "could not set up what this machine lacks to build for aarch64: see above"
      return 1
    }
  fi

  QEMU_AARCH64=${QEMU_AARCH64:-$setup/bin/qemu-aarch64}
  [[ -n $rust ]] || export RUSTC=$setup/bin/rustc
  if [[ -z $gcc ]]; then
    gcc=$setup/bin/aarch64-linux-gnu-gcc
    export LINKER=$setup/bin/aarch64-linux-gnu-ld
  fi
  export CC_aarch64_unknown_linux_gnu=$gcc AR_aarch64_unknown_linux_gnu=${gcc%gcc}ar
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$gcc
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  use_aarch64 || exit
  for name in RUSTC {CC,AR}_aarch64_unknown_linux_gnu CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER LINKER \
    QEMU_AARCH64; do
    [[ ! -v $name ]] || echo "$name=${!name}"
  done
fi
