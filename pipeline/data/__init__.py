"""Raw files: layouts, decoding, manifest, splits, duplicates, download, user data sets, the sample."""
