"""One file a data set with every value of its lane; ``presets`` derives ``full`` and ``paper`` from them."""
