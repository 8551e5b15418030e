"""Builds a dependency for another platform."""

_PLATFORMS = "//command_line_option:platforms"

def _platform_transition_impl(settings, attr):
    return {_PLATFORMS: [str(attr.platform)] if attr.platform else settings[_PLATFORMS]}

platform_transition = transition(
    implementation = _platform_transition_impl,
    inputs = [_PLATFORMS],
    outputs = [_PLATFORMS],
)
