"""`python -m porter`: the same as the console script."""

from porter.cli import main

if __name__ == "__main__":
    main()
