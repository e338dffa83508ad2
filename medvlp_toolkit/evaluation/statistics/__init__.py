"""Figures on a table of scores and what chance leaves open of them."""
