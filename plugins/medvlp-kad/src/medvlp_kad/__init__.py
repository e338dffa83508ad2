"""KAD (Zhang et al., Nature Communications 2023): knowledge-enhanced auto-diagnosis, in two stages."""
