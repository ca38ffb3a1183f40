"""`python -m headrace`: the command line."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the process's command line and return its exit code."""
    try:  # Ctrl-C may come while the command line itself is imported
        from headrace.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("headrace: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
