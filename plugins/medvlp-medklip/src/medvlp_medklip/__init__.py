"""MedKLIP (Wu et al. 2023): entity queries over image tokens, existence and position losses."""
