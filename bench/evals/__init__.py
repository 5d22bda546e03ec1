"""SAEBench's evaluations beside the lab's: the same model, SAEs and texts; both sides' numbers and seconds."""
