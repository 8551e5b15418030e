"""A provider that no public file exports."""

ImageLayerConfigInfo = provider(
    doc = "What a container runs.",
    fields = {name: "" for name in ["cmd", "entrypoint", "env", "working_dir"]},
)
