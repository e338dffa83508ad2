"""Heat maps: attention maps, overlays, map files."""
