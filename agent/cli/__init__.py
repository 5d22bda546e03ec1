"""The command line: options, the beginning of campaigns, several side by side."""
