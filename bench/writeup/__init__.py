"""How many planted faults the audit finds in notes and papers, and how often it finds fault with honest sentences."""
