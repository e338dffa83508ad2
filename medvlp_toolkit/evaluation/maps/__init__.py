"""Where the model looked: attention maps, overlays, map files."""
