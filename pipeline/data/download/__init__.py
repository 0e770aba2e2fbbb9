"""Download and unpack the public data sets."""
