"""`python -m model_service`: the same as the command `model-service`."""

from model_service.cli import main

if __name__ == "__main__":
    main()
