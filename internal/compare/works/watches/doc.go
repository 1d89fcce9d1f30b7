// Package watches is about watching: how many events a second a stream delivers and how
// soon after a write, how long the copy of many keys takes to load, how fast it answers
// and how much memory it needs. What the server can do bounds all of it, so the peers are
// raw requests and the maps of the standard library.
package watches
