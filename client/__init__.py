"""The command line: for now the launcher behind `make run`. Imports shared only."""
