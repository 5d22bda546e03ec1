"""What stands between an edit and a run: is it another program, may it do what it does, and does it do anything."""
