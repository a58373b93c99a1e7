"""One file a format: each scans headers without touching pixels, reads the patterns of one sample, and may write."""
