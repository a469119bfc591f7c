"""What is wrong with a document, in words, with file, line and column."""
