//go:build race

package race

// Enabled says that the race detector is on.
const Enabled = true

// Slowdown is how many times as long servers in the same process may take.
const Slowdown = 3
