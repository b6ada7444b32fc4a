"""What images tell of how they were made, in the forms of the programs that people use, as requests to this service."""
