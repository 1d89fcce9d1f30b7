// Package program is what the mains of the examples have in common: exit codes,
// and an end in good order on Ctrl-C.
package program
