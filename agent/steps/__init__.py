"""The steps of a campaign, a file each."""
