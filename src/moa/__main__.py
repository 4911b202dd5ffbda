"""`python -m moa`: the command, where its script isn't on the path."""

from moa._cli.main import main

if __name__ == "__main__":
    main()
