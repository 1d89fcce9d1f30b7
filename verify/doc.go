// Command verify checks the models of Conclave's protocols with Spin:
//
//	go run ./verify          # small bounds
//	go run ./verify -large   # larger ones, too
//	go run ./verify -v       # with a line for each run
//
// The models are Promela files in the models folder; each begins with what it is of and
// its bounds. A run is a model with bounds. A run of the protocol as it is has to visit
// every state without breaking an assertion, and all runs of a model together every
// statement of it. A run with a switch, which makes the protocol wrong in one way, has to
// break an assertion: one that says what the switch is said to break.
//
// It prints nothing and succeeds if that is so, and otherwise says which run is not as it
// has to be. A search that was cut short, by its depth, by memory or by time, says nothing
// and so fails.
//
// It needs spin and gcc. See docs/verification.md for what the models show.
package main
