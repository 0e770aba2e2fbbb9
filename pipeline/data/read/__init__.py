"""Readers of one file: ordinary images, DICOM, NIfTI and lesion masks. ``pipeline.data.decode`` is their border."""
