"""`python -m guardproxy` is the `guardproxy` command."""

from guardproxy.cli import app

if __name__ == "__main__":
    app(prog_name="guardproxy")
