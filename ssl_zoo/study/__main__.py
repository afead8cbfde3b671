"""`python -m ssl_zoo.study`."""

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":
    end_quietly()
    from ssl_zoo.study.cli import main

    main()
