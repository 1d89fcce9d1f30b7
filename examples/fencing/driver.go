//go:build (!race && !nosqlite) || sqlite

package main

import _ "modernc.org/sqlite" // the driver "sqlite": all of SQLite in Go

// hasDriver says that the program can open its database. With -race it can only if
// -tags sqlite asks for it, because that takes one more compilation of all of SQLite,
// for a minute or so:
//
//	go test -race -tags sqlite ./fencing
const hasDriver = true
