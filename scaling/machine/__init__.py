"""The machine that trains: its device, its heat, its processes."""
