package server

// openFiles is how many connections this process may have open: Windows sets no
// limit of note.
func openFiles() int { return 1 << 20 }
