# shellcheck shell=bash
# Set-ups that are made once and kept in the user's cache folder. To be sourced.

# The XDG Base Directory Specification tells programs to ignore a relative path.
[[ ${XDG_CACHE_HOME:-} == /* ]] || XDG_CACHE_HOME=${HOME:?is not set}/.cache
cache_root=$XDG_CACHE_HOME/pylayer

say() { printf 'pylayer: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# cache_dir NAME FILE...: the folder for a set-up that FILEs describe. Another content of a FILE is
# another folder, and so is another place of the cache: set-ups have their own path burnt in.
cache_dir() {
  local name=$1 key
  shift
  key=$({ echo "$cache_root ${PYLAYER_DEBIAN_SUITE:-}" && cat "$@"; } | sha256sum)
  echo "$cache_root/$name-${key:0:12}"
}

is_ready() { [[ -e $1/.ready ]]; }

# make_once DIR COMMAND...: fills the new folder DIR by `COMMAND... DIR`, unless that was done before.
# Of several at the same time one works and the others wait; what was interrupted starts afresh.
make_once() (
  local dir=$1
  shift
  is_ready "$dir" && exit
  mkdir -p "$cache_root"
  # COMMAND's children keep the lock open too: an orphan of a killed set-up must end before the next
  # one empties the folder.
  exec 9> "$dir.lock"
  flock --nonblock 9 || { say "waiting for another process to set up $dir" && flock 9; }
  is_ready "$dir" && exit
  rm -rf "$dir"
  mkdir "$dir"
  "$@" "$dir" >&2 || exit
  touch "$dir/.ready"
)

# python_with REQUIREMENTS: prints the path of a Python that has what this file pins by hash.
python_with() {
  local venv
  venv=$(cache_dir "venv-$(python3 -c 'import sys; print(sys.version.split()[0])')" "$1")
  make_once "$venv" make_venv "$1" && echo "$venv/bin/python"
}
make_venv() {
  say "installing ${1##*/} in $2"
  python3 -m venv "$2" &&
    "$2/bin/pip" --quiet --disable-pip-version-check install --require-hashes --requirement "$1"
}
