# shellcheck shell=bash
# Downloads and unpacks Debian packages without root. Each apt has a folder STATE of its own. To be sourced, after
# cache.sh.
#
#   PYLAYER_DEBIAN_MIRROR   mirror of the newer release (default: the one in the machine's apt sources)
#   PYLAYER_DEBIAN_SUITE    the newer release

# The first release whose bazel-bootstrap is Bazel 7.
debian_suite=${PYLAYER_DEBIAN_SUITE:-forky}

# The mirror of the machine's own release, according to apt. Needs no package lists.
machine_mirror() {
  # shellcheck source=/dev/null
  local release='' ID='' VERSION_CODENAME=''
  [[ ! -e /etc/os-release ]] || source /etc/os-release
  [[ $ID != debian ]] || release="(${VERSION_CODENAME:-none}|stable|testing|unstable|sid)"
  [[ -z $release ]] || apt-get update --print-uris 2> /dev/null |
    sed -nE "s#^'([^']*)/dists/$release/InRelease' .*#\1#p" | head -n 1
}

# newer_apt STATE ARCHITECTURE [PACKAGE...]: an apt for the newer release, which takes PACKAGEs as installed, and
# nothing else.
newer_apt() {
  local state=$1 architecture=$2 package mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  shift 2
  require_debian_tools
  mirror=${PYLAYER_DEBIAN_MIRROR:-$(machine_mirror)}
  [[ -n $mirror ]] || die "no Debian mirror in this machine's apt sources: set PYLAYER_DEBIAN_MIRROR"
  mkdir -p "$state"
  echo "deb [signed-by=$keyring arch=$architecture] $mirror $debian_suite main" > "$state/sources.list"
  for package in "$@"; do
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
  start_apt "$state" << APT_CONF
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT_CONF
}

# machine_apt STATE PATTERN: an apt for the machine's own release. It takes what is installed as installed, except
# packages whose names match PATTERN.
machine_apt() {
  require_debian_tools
  mkdir -p "$1"
  awk -v RS= -v ORS='\n\n' -v pattern="^Package: [^\n]*($2)" '$0 !~ pattern' /var/lib/dpkg/status > "$1/status"
  start_apt "$1" < /dev/null
}

require_debian_tools() {
  local program
  for program in apt-get dpkg-deb flock; do
    command -v "$program" > /dev/null || die "cannot use Debian packages here: there is no $program"
  done
}

# start_apt STATE < OPTIONS: configures an apt, and downloads its package lists.
start_apt() {
  mkdir -p "$1"/lists/partial "$1"/archives/partial
  {
    cat << APT_CONF
Dir::State "$1";
Dir::State::status "$1/status";
Dir::Cache "$1";
Dir::Log "$1";
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
    cat
  } > "$1/apt.conf"
  apt_in "$1" get update
}

# apt_in STATE COMMAND ARGUMENT...: runs apt-COMMAND.
apt_in() { "apt-$2" -qq -c "$1/apt.conf" "${@:3}"; }

# unpack_all STATE DIR: unpacks everything that the apt has downloaded.
unpack_all() {
  local archives=("$1"/archives/*.deb)
  say "unpacking ${#archives[@]} packages"
  mkdir -p "$2"
  # shellcheck disable=SC2016 # the inner shell expands $1 and $2
  printf '%s\0' "${archives[@]}" | xargs -0 -P "$(nproc)" -I{} bash -o pipefail -c '
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner --no-same-permissions \
      --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale \
      --exclude=./usr/include --exclude=./usr/share/maven-repo' unpack {} "$2"
}
