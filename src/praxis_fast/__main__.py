"""`python -m praxis_fast` is `praxis-fast`."""

from praxis_fast.cli import main

if __name__ == "__main__":
    main()
