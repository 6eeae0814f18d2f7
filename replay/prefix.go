package replay

// RunPrefix begins the name of every run's stream, and of no other.
const RunPrefix = runPrefix
