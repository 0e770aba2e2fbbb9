"""Current results: ``results.json``, its tables, and pictures of what the method does to images."""
