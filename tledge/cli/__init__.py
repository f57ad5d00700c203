"""The command line: one file a command. They parse, call and print; what they call does the work."""
