"""Score folders of images with a frozen detector."""
