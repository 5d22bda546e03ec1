"""Parts that everything else stands on: errors, files, keys, the screen."""
