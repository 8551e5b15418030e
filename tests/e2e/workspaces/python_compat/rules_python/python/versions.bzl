"""The versions of Python that this one knows."""

TOOL_VERSIONS = {
    "3.10.9": {},
    "3.11.1": {},
}

MINOR_MAPPING = {
    "3.10": "3.10.9",
    "3.11": "3.11.1",
}
