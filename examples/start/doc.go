// Package start has no code of its own: the folders below it are the programs of
// docs/start.md, complete.
package start
