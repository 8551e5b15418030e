# shellcheck shell=bash
# Tools that are set up once and kept in the user's cache folder. To be sourced.

# The XDG Base Directory Specification requires programs to ignore relative paths.
[[ ${XDG_CACHE_HOME:-} == /* ]] || XDG_CACHE_HOME=${HOME:?is not set}/.cache
cache_root=$XDG_CACHE_HOME/pylayer

say() { printf 'pylayer: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# cache_dir NAME FILE...: prints the folder for a setup that FILEs describe. It depends on the contents of the
# FILEs, and on the path of the cache, because setups contain absolute paths.
cache_dir() {
  local name=$1 key
  shift
  key=$({ echo "$cache_root ${PYLAYER_DEBIAN_SUITE:-}" && cat "$@"; } | sha256sum)
  echo "$cache_root/$name-${key:0:12}"
}

is_ready() { [[ -e $1/.ready ]]; }

# make_once DIR COMMAND...: fills the new folder DIR with `COMMAND... DIR`, unless that was done before. Of
# concurrent callers, one works and the others wait. An interrupted setup starts over.
make_once() (
  local dir=$1
  shift
  is_ready "$dir" && exit
  mkdir -p "$cache_root"
  # COMMAND's children inherit the lock: orphans of a killed setup must end before the next one empties the
  # folder.
  exec 9> "$dir.lock"
  flock --nonblock 9 || { say "waiting for another process to set up $dir" && flock 9; }
  is_ready "$dir" && exit
  rm -rf "$dir"
  mkdir "$dir"
  "$@" "$dir" >&2 || exit
  touch "$dir/.ready"
)

# python_with REQUIREMENTS: prints the path of a Python with the packages that this file pins by hash.
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
