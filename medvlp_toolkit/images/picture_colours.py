"""Colours of pictures that are drawn on images: the page behind them, their captions, and the truth's boxes."""

BACKGROUND = "#111418"
TEXT = "#f2f2f2"
FAINT = "#9aa4ad"
BOX = "#5ad1ff"
