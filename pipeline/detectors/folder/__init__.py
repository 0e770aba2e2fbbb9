"""Score a folder of images with a frozen detector."""
