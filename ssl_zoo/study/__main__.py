"""`python -m ssl_zoo.study`."""

from ssl_zoo.study.cli import main

if __name__ == "__main__":
    main()
