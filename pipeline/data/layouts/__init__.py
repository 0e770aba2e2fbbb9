"""Layouts of the official downloads: from a list of files to candidate images."""
