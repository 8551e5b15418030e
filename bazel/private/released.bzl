"""The files of this release. Written by `tools/release` into the archive of a release; a checkout has none."""

# The program and the launcher: {platform: [URL, SHA-256]}
PROGRAMS = {}
LAUNCHERS = {}
