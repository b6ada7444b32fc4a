"""One module a dialect: its words into a request, and answers back into its words."""
