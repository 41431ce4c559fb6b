"""captiond: drop pictures into a folder, get captions beside and inside them."""

__version__ = "0.2.0"
