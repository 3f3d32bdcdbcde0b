"""Frozen records: what the rooms say to each other. No I/O, no behaviour beyond what a record knows of itself."""
