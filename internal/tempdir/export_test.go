package tempdir

// Sweep is sweep, which a process does only once.
func Sweep(parent string) { sweep(parent) }
