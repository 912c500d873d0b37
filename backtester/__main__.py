"""``python -m backtester`` is the command ``backtester``."""

from backtester.cli.app import main

main()
