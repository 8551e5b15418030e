#!/usr/bin/env bash
# debian_tree.sh DIR PACKAGE...
#
# Unpacks packages of a newer Debian release, with their dependencies, into DIR, so that their programs
# run from there. Requires neither root nor a particular release on the machine:
#
#  1. apt resolves and downloads the packages from the machine's mirror, with its own state folder;
#  2. dpkg-deb unpacks them. No maintainer script runs, and nothing outside DIR changes;
#  3. programs are patched to use the loader and libraries in DIR, since the machine's libc may be too old.
#
# DIR cannot be moved afterwards. debian.sh describes the variables that choose the mirror and the release.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}
source "$here/cache.sh"
source "$here/debian.sh"

root=$1
shift
packages=("$@" patchelf)

# Declared as installed, so that apt does not download them and their dependencies (700 MB): build tools and
# interpreters, which programs find on the machine, and packages that only a desktop or a maintainer script
# uses.
supplied=(
  bash binutils build-essential coreutils dpkg gawk gcc git grep libc-dev libc6-dev mawk perl perl-base python3
  python3-minimal sed tar unzip util-linux zlib1g-dev
  adduser ca-certificates ca-certificates-java debconf openssl passwd
  fontconfig-config libavahi-client3 libcups2t64 libfreetype6 libjs-jquery node-core-js node-html5shiv
  default-jdk-headless protobuf-compiler-grpc-java-plugin
)

# --- 1. fetch -----------------------------------------------------------------------------------

state=$root/.apt
say "fetching packages of Debian $debian_suite"
newer_apt "$state" "$(dpkg --print-architecture)" "${supplied[@]}"
missing=()
for package in "${packages[@]}"; do
  apt_in "$state" cache show "$package" > /dev/null 2>&1 || missing+=("$package")
done
((${#missing[@]} == 0)) || die "Debian $debian_suite does not have: ${missing[*]}" \
  "(PYLAYER_DEBIAN_SUITE can name another release)"
apt_in "$state" get --yes --download-only install "${packages[@]}"

# --- 2. unpack ----------------------------------------------------------------------------------

unpack_all "$state" "$root"
rm -rf "$state"

# --- 3. run in place ----------------------------------------------------------------------------

# Absolute links to files of other packages (JDK: conf -> /etc/java-…) must lead to those in DIR.
find "$root" -type l -lname '/*' -printf '%p\t%l\n' | while IFS=$'\t' read -r link target; do
  [[ ! -e $root$target ]] || ln -sfn "$root$target" "$link"
done

libraries=$(dirname "$(find "$root/usr/lib" -name 'ld-linux-*.so.*' -print -quit)")
loader=$(echo "$libraries"/ld-linux-*.so.*)
patchelf() { "$loader" --library-path "$libraries" "$root/usr/bin/patchelf" "$@"; }
# An old-style RPATH (--force-rpath) also applies to libraries that a program loads, such as JNI's.
find "$root/usr" -type f -perm -100 ! -name '*.so*' ! -name patchelf | while read -r program; do
  patchelf --print-interpreter "$program" > /dev/null 2>&1 || continue # a script or a static program
  patchelf --set-interpreter "$loader" --force-rpath \
    --set-rpath "\$ORIGIN:\$ORIGIN/../lib:$libraries" "$program"
done
