"""`python -m pixelmill`."""

from pixelmill.cli.main import main

main()
