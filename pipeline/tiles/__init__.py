"""Cut tiles from raw images, make their proxies, load both."""
