"""What exists: thin declarations, one file a stage."""
