"""A module of the bundle's own, which only ever is read."""

from torch import nn

raise RuntimeError("the check imported the bundle")


class SmallNetwork(nn.Module):
    def __init__(self, channels, classes=2, *, dropout=0.0):
        super().__init__()


def make_loss(weight=1.0):
    return nn.CrossEntropyLoss()
