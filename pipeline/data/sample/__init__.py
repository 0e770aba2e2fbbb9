"""The built-in sample: drawn images in the official layouts."""
