//go:build (race || nosqlite) && !sqlite

package main

// hasDriver says that the program cannot open its database, see driver.go.
const hasDriver = false
