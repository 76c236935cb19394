"""What the Makefile runs: the browser's set-up and the pictures of the README."""
