"""What things are called: closed lists of names, other wordings, and which names may mean the same."""
