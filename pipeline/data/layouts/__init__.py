"""How each official download is laid out: from a list of files to candidate images."""
