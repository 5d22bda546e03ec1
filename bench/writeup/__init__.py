"""The audit against planted faults in notes and papers, and against honest sentences."""
