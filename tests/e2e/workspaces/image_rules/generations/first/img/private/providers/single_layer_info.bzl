"""The provider of one layer, as in 0.3.10."""

FIELDS = {
    "blob": "The layer.",
    "metadata": "JSON: diff_id, mediaType, digest, size, annotations.",
    "media_type": "The media type.",
    "estargz": "A boolean.",
}

SingleLayerInfo = provider(doc = "One layer.", fields = FIELDS)
