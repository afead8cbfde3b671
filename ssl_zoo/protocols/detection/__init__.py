"""Detection: the backbone in Faster R-CNN with FPN."""

from ssl_zoo.protocols.detection.protocol import Detection

__all__ = ["Detection"]
