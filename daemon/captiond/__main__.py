"""`python -m captiond`."""

from captiond.cli import main

main()
