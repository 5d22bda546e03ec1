"""A campaign: its events, the state and the record computed from them, and its folder."""
