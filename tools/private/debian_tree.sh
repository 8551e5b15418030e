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
# DIR cannot be moved afterwards.
#
#   PYLAYER_DEBIAN_MIRROR   mirror to download from (default: the one in the machine's apt sources)
#   PYLAYER_DEBIAN_SUITE    release of the packages
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/cache.sh"

root=$1
shift
packages=("$@" patchelf)
# The first release whose bazel-bootstrap is Bazel 7.
suite=${PYLAYER_DEBIAN_SUITE:-forky}

# Declared as installed, so that apt does not download them and their dependencies (700 MB): build tools and
# interpreters, which programs find on the machine, and packages that only a desktop or a maintainer script
# uses.
supplied=(
  bash build-essential coreutils dpkg gawk git grep libc6-dev mawk perl perl-base python3
  python3-minimal sed tar unzip util-linux zlib1g-dev
  adduser ca-certificates ca-certificates-java debconf openssl passwd
  fontconfig-config libavahi-client3 libcups2t64 libfreetype6 libjs-jquery node-core-js node-html5shiv
  default-jdk-headless protobuf-compiler-grpc-java-plugin
)

for program in apt-get dpkg-deb flock; do
  command -v "$program" > /dev/null || die "cannot use Debian packages here: there is no $program"
done

# The mirror of the machine's own release, according to apt. Needs no package lists.
machine_mirror() {
  # shellcheck source=/dev/null
  local release='' ID='' VERSION_CODENAME=''
  [[ ! -e /etc/os-release ]] || source /etc/os-release
  [[ $ID != debian ]] || release="(${VERSION_CODENAME:-none}|stable|testing|unstable|sid)"
  [[ -z $release ]] || apt-get update --print-uris 2> /dev/null |
    sed -nE "s#^'([^']*)/dists/$release/InRelease' .*#\1#p" | head -n 1
}
mirror=${PYLAYER_DEBIAN_MIRROR:-$(machine_mirror)}
[[ -n $mirror ]] || die "no Debian mirror in this machine's apt sources: set PYLAYER_DEBIAN_MIRROR"

# --- 1. fetch -----------------------------------------------------------------------------------

state=$root/.apt
mkdir -p "$state"/lists/partial "$state"/archives/partial
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
architecture=$(dpkg --print-architecture)
echo "deb [signed-by=$keyring arch=$architecture] $mirror $suite main" > "$state/sources.list"
for package in "${supplied[@]}"; do
  cat << DPKG_STATUS
Package: $package
Status: install ok installed
Version: 99:0
Architecture: $architecture
Multi-Arch: foreign
Maintainer: nobody
Description: supplied by the machine

DPKG_STATUS
done > "$state/status"

cat > "$state/apt.conf" << APT_CONF
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Log "$state";
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
APT::Install-Recommends "false";
// Otherwise root's apt downloads as a user without access to a private cache folder.
APT::Sandbox::User "";
// The machine's hooks concern its own packages.
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT_CONF
apt_here() { "apt-$1" -qq -c "$state/apt.conf" "${@:2}"; }

say "fetching packages of Debian $suite"
apt_here get update
missing=()
for package in "${packages[@]}"; do
  apt_here cache show "$package" > /dev/null 2>&1 || missing+=("$package")
done
((${#missing[@]} == 0)) || die "Debian $suite does not have: ${missing[*]}" \
  "(PYLAYER_DEBIAN_SUITE can name another release)"
apt_here get --yes --download-only install "${packages[@]}"

# --- 2. unpack ----------------------------------------------------------------------------------

archives=("$state"/archives/*.deb)
say "unpacking ${#archives[@]} packages"
unpack() { # ARCHIVE
  dpkg-deb --fsys-tarfile "$1" | tar -x -C "$root" --no-same-owner --no-same-permissions \
    --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
    --exclude='./usr/include' --exclude='./usr/share/maven-repo'
}
export -f unpack
export root
# shellcheck disable=SC2016 # the inner shell expands $1
printf '%s\0' "${archives[@]}" |
  xargs -0 -P "$(nproc)" -I{} bash -o pipefail -c 'unpack "$1"' unpack {}
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
