"""The provider of one layer, as in 0.3.19, with one more field."""

FIELDS = {
    "blob": "The layer.",
    "metadata": "JSON: diff_id, mediaType, digest, size, annotations, history.",
    "media_type": "The media type.",
    "estargz": "A boolean.",
    "compact_stream": "A file or None.",
    "layer_input_files": "A depset or None.",
    "layer_input_files_cas": "A directory or None.",
    "sources": "A list.",
    "mtree": "A file or None.",
    "ztoc": "A file or None.",
    "later": "What a later version may add.",
}

SingleLayerInfo = provider(doc = "One layer.", fields = FIELDS)
